import assert from "node:assert/strict";
import { asMillraceError } from "../../src/core/errors.ts";
import { STREAM_START } from "../../src/core/stream-ledger.ts";
import { StrategyOnFull, type KinesisConfig } from "../../src/core/stream-definition.ts";
import type { Timers } from "../../src/core/timers.ts";
import { CursorFile, exportedEnd } from "../../src/export/cursor-file.ts";
import type { CursorRecord } from "../../src/export/cursor-layout.ts";
import type {
  Destination,
  DestinationLimits,
  ExportRecord,
  SendOutcome,
} from "../../src/export/destinations/destination.ts";
import type { BatchTask, ExportResult, ExportTask } from "../../src/export/export-channel.ts";
import { ExportManager } from "../../src/export/export-manager.ts";
import type { TaskPool } from "../../src/export/export-pool.ts";
import { ExportRunner } from "../../src/export/export-runner.ts";
import type { ExporterLedger } from "../../src/export/exporter-ledger.ts";
import { exporterSettingsOf } from "../../src/export/exporter-settings.ts";
import { addsUp } from "../../src/export/live-account.ts";
import { LogReader } from "../../src/log/log-reader.ts";
import { parseSegmentName, SEGMENT_HEADER_BYTES } from "../../src/log/segment-layout.ts";
import type { LogPolicy } from "../../src/log/log-policy.ts";
import type { Storage } from "../../src/log/storage.ts";
import { StreamLog } from "../../src/log/stream-log.ts";
import { silentLogger } from "../../src/observe/logger.ts";
import { progressOf } from "../../src/stream/open-stream.ts";
import { ManualClock, SeededRandom } from "../support/deterministic.ts";
import { blockOf, costOf, logOptions, smallPolicy, STREAM_DIRECTORY } from "../support/log-fixture.ts";
import type { SimStorage } from "../support/sim-storage.ts";
import { definitionWith } from "../support/stream-fixture.ts";
import { explain } from "./cursor-explanation.ts";
import { SimCompanion } from "./sim-companion.ts";
import { streamOptionsDefault } from "../../src/core/stream-options.ts";

/** What is planted between an exporter and the world. */
export interface ExportSeams {
  readonly wrapStorage: (storage: SimStorage) => Storage;
  readonly wrapDestination: (destination: Destination) => Destination;
}

export const soundExportSeams: ExportSeams = {
  wrapStorage: (storage) => storage,
  wrapDestination: (destination) => destination,
};

/** What outlives the process. */
export interface World {
  readonly clock: ManualClock;
  readonly random: SeededRandom;
  /** Every message that was ever appended, by sequence number. */
  readonly payloads: string[];
  /** How often the destination has stored it. */
  readonly cloud: Map<number, number>;
  /** How many operations of the storage were done when it first did. */
  readonly cloudOperations: Map<number, number>;
  /** Segments that a test has damaged, by their first and last sequence number. */
  readonly damaged: { readonly from: number; readonly to: number }[];
  /** The largest start that the configuration ever named. */
  startMax: number;
}

/** What the main thread knew when so many operations of the storage were done. */
export interface Told {
  readonly operationCount: number;
  readonly position: number;
  readonly durablePosition: number;
}

export const EXPORT_BATCH_SIZE = 5;
const EXPORT_POLICY: LogPolicy = {
  ...smallPolicy,
  flushOnWrite: false,
  segmentSize: 1500,
  maxSize: 9000,
  strategyOnFull: StrategyOnFull.OverwriteOldestData,
};
const POISON = "poison";
const RECORD_BYTES_MAX = 250;

export function newWorld(seed: number): World {
  const random = new SeededRandom(seed);
  const clock = new ManualClock();
  return {
    clock,
    random,
    payloads: [],
    cloud: new Map(),
    cloudOperations: new Map(),
    damaged: [],
    startMax: 0,
  };
}

class SimTimers implements Timers {
  readonly #clock: ManualClock;
  readonly #timers = new Set<{ atMs: number; action: () => void }>();

  constructor(clock: ManualClock) {
    this.#clock = clock;
  }

  setTimer(action: () => void, delayMs: number): () => void {
    const timer = { atMs: this.#clock.monotonicMs() + delayMs, action };
    this.#timers.add(timer);
    return () => this.#timers.delete(timer);
  }

  /** Runs what has fallen due. */
  fire(): void {
    for (const timer of this.#timers) {
      if (timer.atMs > this.#clock.monotonicMs()) continue;
      this.#timers.delete(timer);
      timer.action();
    }
  }
}

/** A destination in memory whose moods come from the seed. */
class SimDestination implements Destination {
  readonly #world: World;
  readonly #storage: SimStorage;
  isMoody = true;

  constructor(world: World, storage: SimStorage) {
    this.#world = world;
    this.#storage = storage;
  }

  limitsFor(): DestinationLimits {
    return {
      recordsMax: EXPORT_BATCH_SIZE,
      requestBytesMax: 700,
      recordBytesMax: RECORD_BYTES_MAX,
      recordOverheadBytes: 0,
    };
  }

  async send(_: unknown, records: readonly ExportRecord[]): Promise<SendOutcome> {
    await turn();
    const { random, payloads } = this.#world;
    for (const { sequence, data } of records) {
      assert.equal(Buffer.from(data).toString("latin1"), payloads[sequence], `payload of ${sequence}`);
    }
    if (records.some(({ data }) => Buffer.from(data).toString("latin1").startsWith(POISON))) {
      return { kind: "refused", error: "poison" };
    }
    const dice = this.isMoody ? random.fraction() : 1;
    const failed =
      dice < 0.15 ? records.map((_record, index) => index).filter(() => random.fraction() < 0.5) : [];
    const isFailure = dice >= 0.15 && dice < 0.3;
    // Half of the failures lose only the answer.
    if (!isFailure || dice < 0.2) {
      records.forEach(({ sequence }, index) => {
        if (!failed.includes(index)) this.store(sequence);
      });
    }
    if (!isFailure) return { kind: "answered", failed, error: failed.length > 0 ? "slow down" : "" };
    const scope = random.fraction() < 0.5 ? "endpoint" : "exporter";
    return { kind: "failed", scope, pace: "backoff", timedOut: random.fraction() < 0.3, error: "away" };
  }

  store(sequence: number): void {
    const { cloud, cloudOperations } = this.#world;
    if (!cloud.has(sequence)) cloudOperations.set(sequence, this.#storage.operations.length);
    cloud.set(sequence, (cloud.get(sequence) ?? 0) + 1);
  }

  close(): void {
    this.isMoody = false;
  }
}

class ThreadDeath extends Error {}

/** The export workers of one process, in this thread; a thread may die before its task or after it. */
class SimPool implements TaskPool {
  readonly #simulation: ExportSimulation;
  readonly #runner: ExportRunner;
  runningCount = 0;
  failure: Error | undefined;

  constructor(simulation: ExportSimulation, runner: ExportRunner) {
    this.#simulation = simulation;
    this.#runner = runner;
  }

  async run(task: ExportTask): Promise<ExportResult> {
    this.runningCount += 1;
    try {
      const fate = this.#simulation.takeThreadFate();
      await turn();
      if (fate === "dies before") throw new ThreadDeath("the thread died");
      const result = await this.#finished(structuredClone(task));
      if (fate === "dies after") throw new ThreadDeath("the thread died");
      return structuredClone(result);
    } catch (error) {
      // To the manager it is a thread that died; to the test it is what it is.
      if (!(error instanceof ThreadDeath)) this.failure ??= asMillraceError(error);
      throw error;
    } finally {
      this.runningCount -= 1;
    }
  }

  async #finished(task: ExportTask): Promise<ExportResult> {
    const base = task.kind === "batch" ? this.#simulation.baseOf(task) : undefined;
    const progress = { isDone: false };
    const running = this.#runner.run(task).finally(() => {
      progress.isDone = true;
    });
    while (!progress.isDone) {
      this.#simulation.storage.completeSyncs();
      await turn();
    }
    const result = await running;
    if (result.kind === "batch" && base !== undefined) this.#simulation.onCursor(base, result.cursor);
    return result;
  }

  close(): Promise<void> {
    return Promise.resolve();
  }
}

/** One stream with one exporter and everything that is real about them but threads, the file system, time and the cloud. */
export class ExportSimulation {
  readonly world: World;
  readonly storage: SimStorage;
  readonly log: StreamLog;
  readonly manager: ExportManager;
  readonly destination: SimDestination;
  readonly told: Told[] = [];
  readonly #seams: ExportSeams;
  readonly #pool: SimPool;
  readonly #timers: SimTimers;
  #config: KinesisConfig;
  #threadFate: "dies before" | "dies after" | undefined;
  #before: ExporterLedger | undefined;

  /** Opens what `storage` holds as a new process would; makes the stream where there is none. */
  constructor(
    world: World,
    storage: SimStorage,
    { config, seams = soundExportSeams }: { config: KinesisConfig; seams?: ExportSeams },
  ) {
    this.world = world;
    this.storage = storage;
    this.#seams = seams;
    this.#config = config;
    world.startMax = Math.max(world.startMax, config.startSequenceNumber ?? 0);
    const { clock, random } = world;
    const policy = { ...EXPORT_POLICY, timeToLiveMs: 10 * 60_000 };
    const knownEnd = isStream(storage) ? exportedEnd(storage, STREAM_DIRECTORY) : STREAM_START;
    const options = logOptions(storage, { clock, random, policy, knownEnd });
    this.log = isStream(storage) ? StreamLog.open(options).log : StreamLog.create(options);
    assert.ok(this.log.nextSequence <= world.payloads.length, "nothing comes back that was never appended");
    world.payloads.length = this.log.nextSequence;
    this.destination = new SimDestination(world, storage);
    const files = seams.wrapStorage(storage);
    const companion = new SimCompanion(storage, {
      files,
      clock,
      random: new SeededRandom(world.payloads.length),
    });
    const reader = new LogReader({ storage, directory: STREAM_DIRECTORY });
    const runner = new ExportRunner({
      storage: files,
      clock,
      loadDestination: () => Promise.resolve(seams.wrapDestination(this.destination)),
      openReader: () => reader,
    });
    this.#pool = new SimPool(this, runner);
    this.#timers = new SimTimers(clock);
    this.manager = new ExportManager({
      clock,
      random,
      storage: files,
      storeDirectory: "/store",
      logger: silentLogger,
      timers: this.#timers,
      pool: this.#pool,
      keepAside: async (request) => {
        await turn();
        return companion.keep(request);
      },
    });
    this.manager.addStream({
      streamId: "s",
      name: "s",
      directory: STREAM_DIRECTORY,
      definition: this.#definition,
      options: streamOptionsDefault,
      drops: () => this.log.ledger.snapshot.drops,
    });
    this.tellProgress();
  }

  get #definition() {
    return definitionWith([this.#config]);
  }

  get config(): KinesisConfig {
    return this.#config;
  }

  get seams(): ExportSeams {
    return this.#seams;
  }

  get exporterId(): string {
    return exporterSettingsOf(this.#definition, streamOptionsDefault)[0]!.exporterId;
  }

  get ledger(): ExporterLedger {
    return this.manager.snapshot()[0]!;
  }

  tellProgress(): void {
    this.manager.onProgress("s", progressOf(this.log));
  }

  append(options: { readonly isSynced: boolean }): void {
    const { random, payloads, clock } = this.world;
    const messages = Array.from({ length: random.between(1, 6) }, () => {
      const dice = random.fraction();
      const length = dice < 0.03 ? RECORD_BYTES_MAX + random.between(1, 99) : random.between(1, 120);
      return (dice > 0.96 ? POISON : "") + Buffer.from(random.bytes(length)).toString("latin1");
    });
    const block = blockOf(messages, clock.nowMs());
    this.log.admit(costOf(block));
    this.log.append(block);
    payloads.push(...messages);
    if (options.isSynced) this.sync();
    this.tellProgress();
  }

  sync(): void {
    this.log.sync((error) => assert.equal(error, undefined));
    this.storage.completeSyncs();
    this.tellProgress();
  }

  /** Lets time pass, the log do what is due, and the exports too. */
  async pass(ms: number): Promise<void> {
    this.world.clock.advance(ms);
    this.log.tick();
    this.storage.completeSyncs();
    this.tellProgress();
    this.#timers.fire();
    await this.settle();
  }

  configure(changes: Partial<KinesisConfig>): void {
    this.#config = { ...this.#config, ...changes };
    this.world.startMax = Math.max(this.world.startMax, this.#config.startSequenceNumber ?? 0);
    this.manager.updateStream("s", this.#definition, streamOptionsDefault);
  }

  /** The thread of the next task dies. */
  killThread(when: "dies before" | "dies after"): void {
    this.#threadFate = when;
  }

  takeThreadFate(): "dies before" | "dies after" | undefined {
    const fate = this.#threadFate;
    this.#threadFate = undefined;
    return fate;
  }

  /** Flips bits of a complete segment: of a block, or of both its headers. */
  damageSegment(): void {
    const { random, damaged } = this.world;
    const segments = this.storage
      .list(STREAM_DIRECTORY)
      .flatMap(({ name }) => {
        const base = parseSegmentName(name)?.baseSequence;
        return base === undefined ? [] : [{ filePath: `${STREAM_DIRECTORY}/${name}`, base }];
      })
      .sort((one, other) => one.base - other.base);
    if (segments.length < 3) return;
    const index = random.between(0, segments.length - 2);
    const { filePath, base } = segments[index]!;
    const sizeBytes = this.storage.read(filePath).length;
    const places =
      random.fraction() < 0.3
        ? [20, 20 + SEGMENT_HEADER_BYTES / 2]
        : [random.between(SEGMENT_HEADER_BYTES, sizeBytes - 1)];
    for (const place of places) this.storage.flip(filePath, place);
    damaged.push({ from: base, to: segments[index + 1]!.base });
  }

  /** What a task builds on: the record on disk where that is newer. */
  baseOf(task: BatchTask): CursorRecord {
    const { storage, exporterId } = this;
    const file = new CursorFile(storage, { streamDirectory: STREAM_DIRECTORY, exporterId });
    file.close();
    const { record } = file;
    return record !== undefined && record.revision > task.cursor.revision ? record : task.cursor;
  }

  onCursor(before: CursorRecord, after: CursorRecord): void {
    const { payloads, cloud, damaged, startMax } = this.world;
    explain(before, after, {
      payloadBytes: (sequence) => payloads[sequence]!.length,
      isAccepted: (sequence) => cloud.has(sequence),
      isRefused: (sequence) =>
        payloads[sequence]!.startsWith(POISON) || payloads[sequence]!.length > RECORD_BYTES_MAX,
      isDropped: (sequence) => sequence < this.log.oldestSequence,
      isDamaged: (sequence) => damaged.some(({ from, to }) => sequence >= from && sequence < to),
      isBelowStart: (sequence) => sequence < startMax,
    });
  }

  /** Waits until nothing runs, and holds the account against the log. */
  async settle(): Promise<void> {
    for (let quiet = 0, turns = 0; quiet < 3; quiet += 1, turns += 1) {
      assert.ok(turns < 20_000, `tasks without end: ${JSON.stringify(this.ledger)}`);
      await turn();
      this.storage.completeSyncs();
      if (this.#pool.runningCount > 0) quiet = -1;
    }
    this.check();
  }

  check(): void {
    if (this.#pool.failure !== undefined) throw this.#pool.failure;
    const { ledger, log } = this;
    assert.ok(addsUp(ledger), `does not add up: ${JSON.stringify(ledger)}`);
    const end = { messages: log.nextSequence, payloadBytes: log.nextPayloadOffset };
    assert.deepEqual(ledger.appended, end);
    assert.ok(ledger.pending.messages >= 0 && ledger.pending.payloadBytes >= 0);
    const before = this.#before;
    for (const [account, { messages, payloadBytes }] of Object.entries(ledger.accounts)) {
      const was = before?.accounts[account as keyof typeof ledger.accounts];
      assert.ok(
        messages >= (was?.messages ?? 0),
        `${account} fell from ${was?.messages} to ${messages}: ${JSON.stringify(before)} ${JSON.stringify(ledger)}`,
      );
      assert.ok(payloadBytes >= (was?.payloadBytes ?? 0), `bytes of ${account} fell`);
    }
    this.#before = ledger;
    const { position, durablePosition } = ledger;
    const { operations } = this.storage;
    this.told.push({
      operationCount: operations.length,
      position,
      durablePosition,
    });
  }

  /** Sends all there is to a destination that takes it. */
  async drain(): Promise<void> {
    this.destination.isMoody = false;
    this.configure({ disabled: false });
    this.sync();
    // Five looks at each gap, ever further apart.
    for (let round = 0; round < 400; round += 1) {
      await this.pass(5000);
      const { pending } = this.ledger;
      if (pending.messages === 0) return;
    }
    assert.fail(`messages are pending for ever: ${JSON.stringify(this.ledger)}`);
  }
}

function isStream(storage: SimStorage): boolean {
  return storage.list("/store").some(({ name }) => name === "stream");
}

export function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
