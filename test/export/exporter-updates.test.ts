import assert from "node:assert/strict";
import { test } from "node:test";
import type { ExporterOptions } from "../../src/core/exporter-options.ts";
import {
  emptyExportDefinition,
  type HTTPConfig,
  Persistence,
  type StreamDefinition,
} from "../../src/core/stream-definition.ts";
import { type StreamOptions, streamOptionsDefault } from "../../src/core/stream-options.ts";
import type { Timers } from "../../src/core/timers.ts";
import { AccountKeeper } from "../../src/export/account-keeper.ts";
import type { SendFailure } from "../../src/export/destinations/destination.ts";
import type { BatchResult, BatchTask } from "../../src/export/export-channel.ts";
import { ExportManager } from "../../src/export/export-manager.ts";
import { fileStorage } from "../../src/log/file-storage.ts";
import { silentLogger } from "../../src/observe/logger.ts";
import { ManualClock, SeededRandom } from "../support/deterministic.ts";
import { definitionWith } from "../support/stream-fixture.ts";
import { endOf, HeldTasks, settled } from "./held-tasks.ts";

const MESSAGE_BYTES = 100;
const OLD = "http://old.example/";
const NEW = "http://new.example/";
const down: SendFailure = {
  kind: "failed",
  scope: "endpoint",
  pace: "backoff",
  timedOut: false,
  error: "connection refused",
};

/** A manager whose tasks end as the test says, and streams in memory with one HTTP exporter each. */
class Bench {
  readonly clock = new ManualClock();
  readonly tasks = new HeldTasks();
  readonly manager: ExportManager;
  #timers = new Set<{ readonly atMs: number; readonly action: () => void }>();

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

  async add(name: string, config: Partial<HTTPConfig>, options: ExporterOptions = {}): Promise<void> {
    const [definition, all] = configured(name, config, options);
    const stream = { streamId: name, name, directory: `/nowhere/${name}`, definition, options: all };
    this.manager.addStream({ ...stream, drops: () => [], memory: () => [] });
    const end = { sequence: 100, payloadOffset: 100 * MESSAGE_BYTES };
    this.manager.onProgress(name, {
      ...{ oldestSequence: 0, oldestPayloadOffset: 0 },
      ...{ syncedEndSequence: end.sequence, syncedEndPayloadOffset: end.payloadOffset },
      ...{ nextSequence: end.sequence, nextPayloadOffset: end.payloadOffset },
    });
    await settled();
  }

  async update(name: string, config: Partial<HTTPConfig>, options: ExporterOptions = {}): Promise<void> {
    this.manager.updateStream(name, ...configured(name, config, options));
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

  get out(): string[] {
    return this.tasks.held.flatMap(({ task }) => (task.kind === "batch" ? [task.identifier] : [])).sort();
  }
}

function configured(
  name: string,
  config: Partial<HTTPConfig>,
  options: ExporterOptions,
): [StreamDefinition, StreamOptions] {
  const http = [{ identifier: name, uri: OLD, batchSize: 10, ...config }];
  const exportDefinition = { ...emptyExportDefinition, http };
  const definition = definitionWith([], { name, persistence: Persistence.Memory, exportDefinition });
  return [definition, { ...streamOptionsDefault, exporters: { [name]: options } }];
}

/** All that a batch may hold is accepted. */
function accepted(task: BatchTask): BatchResult {
  const account = new AccountKeeper(task.cursor);
  const totals = { messages: task.messageCountMax, payloadBytes: task.messageCountMax * MESSAGE_BYTES };
  account.accept(totals, 1);
  const { messages: acceptedMessages, payloadBytes: acceptedBytes } = totals;
  const outcome = { kind: "sent", acceptedMessages, acceptedBytes, failedMessages: 0, error: "" } as const;
  const requests = { bodyBytes: acceptedBytes, payloadBytes: acceptedBytes, countedBytes: acceptedBytes };
  return endOf(task, { outcome, requests, cursor: account.cursor });
}

const failed = (task: BatchTask): BatchResult => endOf(task, { outcome: down });

for (const [how, end] of [
  ["fails", failed],
  ["is accepted", accepted],
] as const) {
  test(`an endpoint is not held for ever by a probe that ${how} when its exporter sends elsewhere`, async () => {
    const bench = new Bench();
    await bench.add("moves", {});
    await bench.add("stays", {});
    assert.deepEqual(bench.out, ["moves", "stays"]);
    await bench.end("moves", failed);
    await bench.end("stays", failed);
    await bench.pass(60_000);
    const [probe, ...others] = bench.out;
    assert.ok(probe !== undefined && others.length === 0, "one batch at a time tries a failing endpoint");
    await bench.update(probe, { uri: NEW });
    await bench.end(probe, end);
    await bench.pass(600_000);
    assert.deepEqual(bench.out, ["moves", "stays"], "each tries its own endpoint");
    assert.equal(bench.tasks.batchOf(probe).task.destination.kind, "http");
    assert.deepEqual(
      bench.out.map((name) => (bench.tasks.batchOf(name).task.destination as { uri: string }).uri).sort(),
      [NEW, OLD],
    );
  });
}

test("a thread that dies with a probe frees the endpoint that the probe was for", async () => {
  const bench = new Bench();
  await bench.add("moves", {});
  await bench.add("stays", {}, { paused: true });
  await bench.end("moves", failed);
  await bench.pass(60_000);
  await bench.update("moves", { uri: NEW });
  await bench.update("stays", {});
  assert.deepEqual(bench.out, ["moves"]);
  bench.tasks.batchOf("moves").die();
  await settled();
  assert.ok(bench.out.includes("stays"));
});

test("an exporter that is sent elsewhere while a batch is out keeps its position, and the next batch goes there", async () => {
  const bench = new Bench();
  await bench.add("moves", {});
  await bench.update("moves", { uri: NEW });
  assert.equal((bench.tasks.batchOf("moves").task.destination as { uri: string }).uri, OLD);
  await bench.end("moves", accepted);
  const { destination, cursor } = bench.tasks.batchOf("moves").task;
  assert.deepEqual([(destination as { uri: string }).uri, cursor.position], [NEW, 10]);
});

test("a cap that is changed while a batch is out begins full, whatever the batch took", async () => {
  const bench = new Bench();
  // A batch of ten is a second of it.
  await bench.add("capped", {}, { kbitPerSecondMax: 8 });
  await bench.update("capped", {}, { kbitPerSecondMax: 16 });
  const nothing = { bodyBytes: 0, payloadBytes: 0, countedBytes: 0 };
  const answer = {
    kind: "sent",
    acceptedMessages: 0,
    acceptedBytes: 0,
    failedMessages: 0,
    error: "",
  } as const;
  // It took less than was expected: that was taken from the bucket of the old cap.
  await bench.end("capped", (task) => endOf(task, { outcome: answer, requests: nothing }));
  let batches = 0;
  for (; bench.out.length > 0; batches += 1) await bench.end("capped", accepted);
  assert.equal(batches, 2, "a second of the new cap");
});

test("a start that moves back while a batch is out is where the next batch begins", async () => {
  const bench = new Bench();
  await bench.add("moves", {});
  await bench.end("moves", accepted);
  await bench.update("moves", { startSequenceNumber: 3 });
  await bench.end("moves", accepted);
  const settlement = bench.tasks.batchOf("moves").task;
  assert.deepEqual([settlement.start?.startSequence, settlement.cursor.position], [3, 20]);
  const account = new AccountKeeper(settlement.cursor);
  account.setStart(3);
  account.rewind({ sequence: 3, payloadOffset: 3 * MESSAGE_BYTES });
  await bench.end("moves", (task) =>
    endOf(task, { outcome: { kind: "passed" }, cursor: account.cursor, isStartSettled: true }),
  );
  const { start, cursor } = bench.tasks.batchOf("moves").task;
  assert.deepEqual([start, cursor.position], [undefined, 3]);
});
