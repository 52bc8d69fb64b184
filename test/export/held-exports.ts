import type { ExporterOptions } from "../../src/core/exporter-options.ts";
import {
  emptyExportDefinition,
  type ExportDefinition,
  Persistence,
  type StreamDefinition,
} from "../../src/core/stream-definition.ts";
import { type StreamOptions, streamOptionsDefault } from "../../src/core/stream-options.ts";
import type { Timers } from "../../src/core/timers.ts";
import { AccountKeeper } from "../../src/export/account-keeper.ts";
import type { BatchResult, BatchTask } from "../../src/export/export-channel.ts";
import { ExportManager } from "../../src/export/export-manager.ts";
import { fileStorage } from "../../src/log/file-storage.ts";
import { silentLogger } from "../../src/observe/logger.ts";
import { ManualClock, SeededRandom } from "../support/deterministic.ts";
import { definitionWith } from "../support/stream-fixture.ts";
import { endOf, HeldTasks, settled } from "./held-tasks.ts";

export const MESSAGE_BYTES = 100;

interface StreamSettings {
  readonly exports: Partial<ExportDefinition>;
  /** By identifier. */
  readonly exporters?: Readonly<Record<string, ExporterOptions>>;
  readonly persistence?: Persistence;
}

/** A manager whose tasks end as the test says, a clock that it moves, and streams of which there is nothing but their ends. */
export class HeldExports {
  readonly clock = new ManualClock();
  readonly tasks = new HeldTasks();
  readonly manager: ExportManager;
  readonly #timers = new Set<{ readonly atMs: number; readonly action: () => void }>();

  constructor() {
    const timers: Timers = {
      setTimer: (action, delayMs) => {
        const timer = { atMs: this.clock.monotonicMs() + delayMs, action };
        this.#timers.add(timer);
        return () => this.#timers.delete(timer);
      },
    };
    this.manager = new ExportManager({
      ...{ clock: this.clock, random: new SeededRandom(1), storage: fileStorage, logger: silentLogger },
      ...{ storeDirectory: "/nowhere", timers, pool: this.tasks },
      keepAside: () => Promise.reject(new Error("nothing is set aside here")),
    });
  }

  /** A stream of so many messages of MESSAGE_BYTES. */
  async add(name: string, settings: StreamSettings, messages = 100): Promise<void> {
    const [definition, options] = configured(name, settings);
    const stream = {
      streamId: name,
      name,
      directory: `/nowhere/${name}`,
      definition,
      options,
      drops: () => [],
    };
    const isMemory = definition.persistence === Persistence.Memory;
    this.manager.addStream(isMemory ? { ...stream, memory: () => [] } : stream);
    const payloadOffset = messages * MESSAGE_BYTES;
    this.manager.onProgress(name, {
      ...{ oldestSequence: 0, oldestPayloadOffset: 0 },
      ...{ syncedEndSequence: messages, syncedEndPayloadOffset: payloadOffset },
      ...{ nextSequence: messages, nextPayloadOffset: payloadOffset },
    });
    await settled();
  }

  async update(name: string, settings: StreamSettings): Promise<void> {
    this.manager.updateStream(name, ...configured(name, settings));
    await settled();
  }

  async pass(ms: number): Promise<void> {
    this.clock.advance(ms);
    for (const timer of this.#timers) {
      if (timer.atMs > this.clock.monotonicMs()) continue;
      this.#timers.delete(timer);
      timer.action();
    }
    await settled();
  }

  async end(identifier: string, end: (task: BatchTask) => BatchResult): Promise<void> {
    const batch = this.tasks.batchOf(identifier);
    batch.end(end(batch.task));
    await settled();
  }

  /** Identifiers of the exporters that have a batch out. */
  get out(): string[] {
    return this.tasks.held.flatMap(({ task }) => (task.kind === "batch" ? [task.identifier] : [])).sort();
  }
}

function configured(
  name: string,
  { exports, exporters, persistence = Persistence.Memory }: StreamSettings,
): [StreamDefinition, StreamOptions] {
  const exportDefinition = { ...emptyExportDefinition, ...exports };
  const options = exporters === undefined ? streamOptionsDefault : { ...streamOptionsDefault, exporters };
  return [definitionWith([], { name, persistence, exportDefinition }), options];
}

/** All that a batch may hold is accepted. */
export function accepted(task: BatchTask): BatchResult {
  const account = new AccountKeeper(task.cursor);
  const totals = { messages: task.messageCountMax, payloadBytes: task.messageCountMax * MESSAGE_BYTES };
  account.accept(totals, 1);
  const { messages: acceptedMessages, payloadBytes: acceptedBytes } = totals;
  const outcome = { kind: "sent", acceptedMessages, acceptedBytes, failedMessages: 0, error: "" } as const;
  const requests = { bodyBytes: acceptedBytes, payloadBytes: acceptedBytes, countedBytes: acceptedBytes };
  return endOf(task, { outcome, requests, cursor: account.cursor });
}
