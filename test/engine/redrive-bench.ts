import assert from "node:assert/strict";
import type { TestContext } from "node:test";
import { setTimeout as after } from "node:timers/promises";
import { systemClock } from "../../src/core/clock.ts";
import { systemRandom } from "../../src/core/random.ts";
import type { StreamDescription } from "../../src/core/stream-description.ts";
import { emptyExportDefinition, type KinesisConfig } from "../../src/core/stream-definition.ts";
import {
  changeStreamOptions,
  type StreamOptionsChange,
  streamOptionsDefault,
} from "../../src/core/stream-options.ts";
import type { ClientState } from "../../src/engine/client-state.ts";
import { Engine } from "../../src/engine/engine.ts";
import type { EngineContext } from "../../src/engine/engine-context.ts";
import { handleDeleteMessageStream } from "../../src/engine/handlers/delete-message-stream.ts";
import { appendInternally } from "../../src/engine/internal-append.ts";
import { readInternally } from "../../src/engine/internal-read.ts";
import { changeStream } from "../../src/engine/stream-change.ts";
import { createStream } from "../../src/engine/stream-creation.ts";
import { describeStream } from "../../src/engine/stream-description.ts";
import { exportedEnd } from "../../src/export/cursor-file.ts";
import { ExportManager } from "../../src/export/export-manager.ts";
import { addsUp } from "../../src/export/live-account.ts";
import { decodeEntry, type SetAsideEntry } from "../../src/export/set-aside-entry.ts";
import { fileStorage } from "../../src/log/file-storage.ts";
import { silentLogger } from "../../src/observe/logger.ts";
import type { StreamProxy } from "../../src/stream/stream-proxy.ts";
import { makeStoreRoot, openStoreDirectory } from "../../src/stream/store-directory.ts";
import { temporaryDirectory } from "../support/engine-process.ts";
import { useKinesisEndpoint } from "../support/export-bench.ts";
import { FakeKinesisServer } from "../support/fake-kinesis-server.ts";
import { definitionWith } from "../support/stream-fixture.ts";

const DEADLINE_MS = 60_000;

/** An engine in this process with real workers of both kinds, and a Kinesis that refuses what begins with a word of `refused`. */
export class RedriveBench {
  readonly kinesis: FakeKinesisServer;
  readonly #storeDirectory: string;
  refused: readonly string[] = ["bad"];
  #engine: Engine | undefined;
  #manager: ExportManager | undefined;

  private constructor(kinesis: FakeKinesisServer, storeDirectory: string) {
    this.kinesis = kinesis;
    this.#storeDirectory = storeDirectory;
    kinesis.answer = ({ data }) =>
      data.some((text) => this.refused.some((word) => text.startsWith(word)))
        ? { kind: "error", status: 400, type: "ValidationException", message: "no" }
        : { kind: "accept" };
  }

  static async start(t: TestContext): Promise<RedriveBench> {
    const kinesis = await FakeKinesisServer.start();
    useKinesisEndpoint(kinesis.url);
    const storeDirectory = `${temporaryDirectory(t)}/store`;
    makeStoreRoot(fileStorage, storeDirectory);
    const bench = new RedriveBench(kinesis, storeDirectory);
    t.after(async () => {
      await bench.stop();
      await kinesis.close();
    });
    await bench.run();
    return bench;
  }

  get engine(): Engine {
    assert.ok(this.#engine !== undefined);
    return this.#engine;
  }

  async run(): Promise<void> {
    const storeDirectory = this.#storeDirectory;
    const contents = openStoreDirectory({ storage: fileStorage, storeDirectory });
    const common = { clock: systemClock, random: systemRandom, logger: silentLogger, storeDirectory };
    const manager: ExportManager = new ExportManager({
      ...common,
      storage: fileStorage,
      keepAside: (request) => this.engine.companions.keep(request),
    });
    this.#manager = manager;
    this.#engine = new Engine({
      ...common,
      streamsMax: 100,
      messageBytesMax: 1024 * 1024,
      fileDirectories: [],
      workerCountMax: 1,
      ringBytes: 4 * 1024 * 1024,
      worker: {
        storeDirectory,
        epoch: contents.epoch,
        blockBytes: 64 * 1024,
        syncIntervalMs: 100,
        syncBytes: 4 * 1024 * 1024,
        commitAlignBytes: 4096,
        diskFreeMinBytes: 0,
        memoryStreamBytesMax: 2 ** 30,
      },
      exports: manager,
      exportedEnd: (directory) => exportedEnd(fileStorage, directory),
    });
    await this.#engine.recover(contents);
  }

  /** Ends both without a word to either: nothing is written any more. */
  async stop(): Promise<void> {
    await this.#manager?.close({ deadlineMs: 0 });
    await this.#engine?.workers.terminate();
  }

  async restart(): Promise<void> {
    await this.stop();
    await this.run();
  }

  async create(
    name: string,
    configs: readonly KinesisConfig[],
    options: StreamOptionsChange = {},
  ): Promise<void> {
    const definition = { ...definitionWith(configs, { name }), flushOnWrite: true };
    await createStream(this.engine, {
      definition,
      options: changeStreamOptions(streamOptionsDefault, options),
    });
  }

  async setExporters(name: string, kinesis: readonly KinesisConfig[]): Promise<void> {
    await changeStream(this.engine, this.engine.catalog.get(name), ({ definition, options }) => ({
      definition: { ...definition, exportDefinition: { ...emptyExportDefinition, kinesis } },
      options,
    }));
  }

  /** As a client's request would. */
  async delete(name: string): Promise<void> {
    const client = { session: { send: () => undefined } } as unknown as ClientState;
    await handleDeleteMessageStream(this.engine, client, { requestId: "r", name });
  }

  /** The engine, with reads that wait until `release` is called. */
  withHeldReads(): {
    readonly engine: EngineContext;
    readonly held: Promise<void>;
    readonly release: () => void;
  } {
    const { engine } = this;
    let release: () => void = () => undefined;
    const released = new Promise<void>((resolve) => (release = resolve));
    let tell: () => void = () => undefined;
    const held = new Promise<void>((resolve) => (tell = resolve));
    const proxy = (index: number): Pick<StreamProxy, "assertRoom" | "read"> => {
      const real = engine.workers.proxy(index);
      return {
        assertRoom: () => real.assertRoom(),
        read: (...args) => {
          tell();
          void released.then(() => real.read(...args));
          return 0;
        },
      };
    };
    const holding = Object.create(engine, { workers: { value: { proxy } } }) as EngineContext;
    return { engine: holding, held, release };
  }

  async append(name: string, ...payloads: string[]): Promise<void> {
    for (const payload of payloads) await appendInternally(this.engine, name, Buffer.from(payload));
  }

  describe(name: string): StreamDescription {
    const { engine } = this;
    for (const ledger of this.#manager!.snapshot()) assert.ok(addsUp(ledger), JSON.stringify(ledger));
    return describeStream(engine, engine.catalog.get(name));
  }

  /** Resolves when the description is as `isMet` wants it. */
  async until(name: string, isMet: (description: StreamDescription) => boolean): Promise<StreamDescription> {
    const deadlineMs = Date.now() + DEADLINE_MS;
    for (;;) {
      const description = this.describe(name);
      if (isMet(description)) return description;
      assert.ok(Date.now() < deadlineMs, JSON.stringify(description, undefined, 1));
      await after(10);
    }
  }

  async exported(name: string): Promise<StreamDescription> {
    return this.until(name, ({ exporters }) => exporters.every(({ pending }) => pending.messages === 0));
  }

  async redriven(name: string): Promise<StreamDescription> {
    return this.until(name, ({ setAside }) =>
      (setAside?.redrives ?? []).every(({ position, endSequence }) => position >= endSequence),
    );
  }

  /** What the companion holds, with the payload as text. */
  async entries(companion: string): Promise<(SetAsideEntry & { readonly text: string })[]> {
    const entry = this.engine.catalog.get(companion);
    const entries: (SetAsideEntry & { readonly text: string })[] = [];
    const range = { fromSequence: 0, endSequence: entry.progress.nextSequence };
    for await (const { payload } of readInternally(this.engine, entry, range)) {
      const found = decodeEntry(payload);
      assert.ok(found !== undefined);
      entries.push({ ...found, text: Buffer.from(found.payload ?? "", "base64").toString() });
    }
    return entries;
  }
}
