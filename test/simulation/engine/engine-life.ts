import { Engine } from "../../../src/engine/engine.ts";
import type { StreamEntry } from "../../../src/engine/stream-entry.ts";
import { exportedEnd } from "../../../src/export/cursor-file.ts";
import { ExportManager } from "../../../src/export/export-manager.ts";
import { silentLogger } from "../../../src/observe/logger.ts";
import type { StorageDelay } from "../../../src/stream/storage-watch.ts";
import { makeStoreRoot, openStoreDirectory } from "../../../src/stream/store-directory.ts";
import type { SeededRandom } from "../../support/deterministic.ts";
import type { SimStorage } from "../../support/sim-storage.ts";
import type { Seams } from "../workload.ts";
import { type SimCloud, SimExportPool } from "./sim-cloud.ts";
import { SimClient } from "./sim-client.ts";
import type { SimScheduler } from "./sim-scheduler.ts";
import { SimPlatform } from "./sim-threads.ts";
import type { StreamContents } from "./stream-model.ts";

export const STORE_DIRECTORY = "/store";

interface LifeParts {
  readonly scheduler: SimScheduler;
  readonly cloud: SimCloud;
  readonly random: SeededRandom;
  readonly life: number;
  readonly counters: readonly Map<string, number>[];
  /** What is planted between the stream workers and their storage. */
  readonly wrap?: Seams["wrap"] | undefined;
  readonly onStorageDelay?: (delay: StorageDelay) => void;
}

/** One process: from its start to whatever ends it. */
export class EngineLife {
  readonly engine: Engine;
  readonly exports: ExportManager;
  readonly platform: SimPlatform;
  readonly pool: SimExportPool;
  readonly storage: SimStorage;
  readonly clients: readonly SimClient[];
  readonly #scheduler: SimScheduler;

  private constructor(storage: SimStorage, parts: LifeParts) {
    const { scheduler, cloud, random, life } = parts;
    this.storage = storage;
    this.#scheduler = scheduler;
    this.platform = new SimPlatform(parts.wrap?.(storage) ?? storage, scheduler, random);
    this.pool = new SimExportPool(`exports ${life}`, { storage, scheduler, cloud });
    const { clock } = scheduler;
    this.exports = new ExportManager({
      clock,
      random,
      storage,
      logger: silentLogger,
      timers: scheduler,
      storeDirectory: STORE_DIRECTORY,
      pool: this.pool,
      keepAside: (request) => this.engine.companions.keep(request),
    });
    const contents = openStoreDirectory({ storage, storeDirectory: STORE_DIRECTORY });
    this.engine = new Engine({
      clock,
      random,
      logger: silentLogger,
      storeDirectory: STORE_DIRECTORY,
      streamsMax: 100,
      messageBytesMax: 1024 * 1024,
      fileDirectories: [],
      workerCountMax: 2,
      ringBytes: 32 * 1024,
      worker: {
        epoch: contents.epoch,
        blockBytes: 4096,
        syncIntervalMs: 100,
        syncBytes: 16 * 1024,
        commitAlignBytes: 4096,
        diskFreeMinBytes: 0,
        memoryStreamBytesMax: 2 ** 30,
        storeDirectory: STORE_DIRECTORY,
      },
      platform: this.platform,
      ...(parts.onStorageDelay && { onStorageDelay: parts.onStorageDelay }),
      exports: this.exports,
      exportedEnd: (directory) => exportedEnd(storage, directory),
    });
    this.clients = parts.counters.map(
      (counters, index) => new SimClient(`c${index}`, { engine: this.engine, random, counters }),
    );
    this.#recovering = this.engine.recover(contents).then(() => {
      this.#isReady = true;
    });
  }
  readonly #recovering: Promise<void>;
  #isReady = false;

  static async start(storage: SimStorage, parts: LifeParts): Promise<EngineLife> {
    makeStoreRoot(storage, STORE_DIRECTORY);
    const life = new EngineLife(storage, parts);
    await parts.scheduler.runUntil(() => life.#isReady, "recovery");
    await life.#recovering;
    return life;
  }

  /** Waits for a promise while the world goes on. */
  async await<T>(promise: Promise<T>, what: string): Promise<T> {
    let settled: { value: T } | undefined;
    let failed: { error: unknown } | undefined;
    promise.then(
      (value) => (settled = { value }),
      (error: unknown) => (failed = { error }),
    );
    await this.#scheduler.runUntil(() => settled !== undefined || failed !== undefined, what);
    if (failed !== undefined) throw failed.error;
    return settled!.value;
  }

  /** Everything in a stream, through the engine. */
  async contents(name: string): Promise<StreamContents> {
    const [client] = this.clients;
    const described = await this.await(client!.describe(name), `describe "${name}"`);
    if (described.messageStreamInfo === undefined)
      throw new Error(`describe "${name}": ${described.errorMessage}`);
    const { oldestSequenceNumber: oldestSequence, newestSequenceNumber } =
      described.messageStreamInfo.storageStatus;
    const nextSequence = newestSequenceNumber + 1;
    const messages = new Map<number, string>();
    for (let at = oldestSequence; at < nextSequence;) {
      const reply = await this.await(client!.read(name, at, 200), `read "${name}"`);
      if (reply.messages === undefined) throw new Error(`read "${name}" at ${at}: ${reply.errorMessage}`);
      for (const { sequenceNumber, payload } of reply.messages)
        if (sequenceNumber < nextSequence)
          messages.set(sequenceNumber, Buffer.from(payload).toString("latin1"));
      at = reply.messages.at(-1)!.sequenceNumber + 1;
    }
    return { oldestSequence, nextSequence, messages };
  }

  entry(name: string): StreamEntry {
    const found = [...this.engine.catalog.entries].find((entry) => entry.definition.name === name);
    if (found === undefined) throw new Error(`no stream "${name}"`);
    return found;
  }

  /** Every stream takes requests and nobody waits for an answer. */
  get isQuiet(): boolean {
    const isOpen = [...this.engine.catalog.entries].every(({ lifecycle }) => lifecycle === "open");
    return isOpen && this.clients.every(({ isWaiting }) => !isWaiting);
  }

  /** As `serve` stops: no new requests, everything taken is committed and answered, cursors are synced. */
  async stop(): Promise<void> {
    await this.await(this.engine.close(), "a clean stop");
    await this.await(this.exports.close({ deadlineMs: 60_000 }), "a clean stop of the exports");
    this.vanish();
  }

  /** The process is gone, wherever it was. */
  vanish(): void {
    this.platform.vanish();
    this.pool.vanish();
    this.#scheduler.clearTimers();
  }
}
