import assert from "node:assert/strict";
import path from "node:path";
import { MillraceClient } from "../../src/client/millrace-client.ts";
import { StrategyOnFull } from "../../src/core/stream-definition.ts";
import type { StreamDefinitionInput } from "../../src/wire/stream-definition-codec.ts";
import { AppendChecker } from "../simulation/append-checker.ts";
import { checkStream } from "../simulation/check-stream.ts";
import { LoadProducer } from "../simulation/load-producer.ts";
import { EngineProcess, temporaryDirectory } from "../support/engine-process.ts";
import { FaultShim } from "../support/fault-shim.ts";
import type { CleanUp } from "../support/program.ts";
import { seededRandom } from "../support/seeded-random.ts";

const KIB = 1024;

/** One stream that syncs before it answers and one that does not, in segments that soon are full. */
export const plainAndFlushed: readonly StreamDefinitionInput[] = [
  { name: "flushed", flushOnWrite: true },
  { name: "plain", flushOnWrite: false },
].map((definition) => ({
  ...definition,
  strategyOnFull: StrategyOnFull.RejectNewData,
  streamSegmentSize: 32 * KIB,
  maxSize: 1024 * 1024 * KIB,
}));

/** Small blocks that are often synced, so that little load makes many calls. One worker, so that calls come in one order. */
const smallEngine = {
  MILLRACE_WORKERS: "1",
  MILLRACE_BLOCK_BYTES: "8192",
  MILLRACE_SYNC_INTERVAL_MS: "20",
} as const;

export interface FaultRunOptions {
  readonly seed: number;
  readonly streams?: readonly StreamDefinitionInput[];
  /** Refusals that tell of failing storage are no fault of the engine. */
  readonly meetsFaults?: boolean;
  /** Requests of one producer on their way. */
  readonly windowMax?: number;
  readonly batchMessagesMax?: number;
  readonly env?: Readonly<Record<string, string>>;
  /** Where the engine's HOME and its `store` lie; a fresh temporary directory by default. */
  readonly storeDirectory?: string;
}

/** One store, its engines one after another, the load on its streams, and the oracle that remembers what they were told. */
export class FaultRun {
  readonly storeDirectory: string;
  readonly shim: FaultShim;
  readonly streams: readonly StreamDefinitionInput[];
  readonly checkers: readonly AppendChecker[];
  /** A WebSocket producer and a TCP producer for each stream. */
  readonly producers: readonly LoadProducer[];
  readonly #t: CleanUp;
  readonly #env: Readonly<Record<string, string>>;

  constructor(t: CleanUp, options: FaultRunOptions) {
    const { seed, streams = plainAndFlushed, meetsFaults = false, windowMax = 4, batchMessagesMax } = options;
    this.#t = t;
    this.#env = { ...smallEngine, ...options.env };
    this.storeDirectory = options.storeDirectory ?? temporaryDirectory(t);
    this.shim = new FaultShim(t, { directory: path.join(this.storeDirectory, "store") });
    this.streams = streams;
    const random = seededRandom(seed);
    this.checkers = streams.map(
      ({ name, strategyOnFull }) =>
        new AppendChecker({
          stream: name,
          isOverwriting: strategyOnFull === StrategyOnFull.OverwriteOldestData,
        }),
    );
    this.producers = this.checkers.flatMap((checker, index) =>
      (["websocket", "tcp"] as const).map(
        (transport) =>
          new LoadProducer({
            name: `${transport}-${index}`,
            checker,
            transport,
            windowMax,
            random,
            meetsFaults,
            ...(batchMessagesMax !== undefined && { batchMessagesMax }),
          }),
      ),
    );
  }

  get env(): Record<string, string> {
    return { ...this.#env };
  }

  /** An engine in this store whose file calls the rules decide about. */
  async startUnderShim(): Promise<EngineProcess> {
    return EngineProcess.start(this.#t, {
      env: { ...this.#env, ...this.shim.env },
      storeDirectory: this.storeDirectory,
    });
  }

  async start(): Promise<EngineProcess> {
    return EngineProcess.start(this.#t, { env: this.#env, storeDirectory: this.storeDirectory });
  }

  async createStreams(engine: EngineProcess): Promise<void> {
    await withClient(engine, async (client) => {
      for (const definition of this.streams) await client.createMessageStream(definition);
    });
  }

  /** A first engine, with its streams made and `answers` answers for each producer. */
  async startLoaded(load: { answers: number }): Promise<EngineProcess> {
    const engine = await this.start();
    await this.createStreams(engine);
    await this.load(engine, load);
    return engine;
  }

  /** Each producer appends from now on. */
  async startProducers({ port, token }: EngineProcess): Promise<void> {
    for (const producer of this.producers) await producer.start({ port, token });
  }

  /** Resolves when `isEnough` holds for each producer that was started; fails when the engine is gone before. */
  async until(isEnough: (producer: LoadProducer) => boolean): Promise<void> {
    const outcomes = await Promise.all(this.producers.map((each) => each.until(isEnough)));
    assert.ok(outcomes.every(Boolean), "a connection ended before it could be");
  }

  /** The same for so many more acknowledgements. */
  async untilAcknowledged(more: { answers: number }): Promise<void> {
    await this.until(this.#hasAcknowledged(more));
  }

  #hasAcknowledged({ answers }: { answers: number }): (producer: LoadProducer) => boolean {
    const goals = new Map(this.producers.map((each) => [each, each.acknowledgedCount + answers]));
    return (each) => each.acknowledgedCount >= goals.get(each)!;
  }

  /** No producer sends any more, and each has its answers. */
  async drain(): Promise<void> {
    for (const producer of this.producers) await producer.drain();
  }

  /** Resolves when the engine has let go of each producer. */
  async ended(): Promise<void> {
    for (const producer of this.producers) await producer.ended();
  }

  /** Appends until each producer has `answers` more answers, or the engine is gone. */
  async load(engine: EngineProcess, { answers }: { answers: number }): Promise<void> {
    const goals = new Map(this.producers.map((each) => [each, each.answeredCount + answers]));
    await this.loadUntil(engine, (each) => each.answeredCount >= goals.get(each)!);
  }

  /** Appends until each producer has so many more acknowledgements: what was broken works again, or this fails. */
  async loadAcknowledged(engine: EngineProcess, more: { answers: number }): Promise<void> {
    const isEnough = this.#hasAcknowledged(more);
    await this.loadUntil(engine, isEnough);
    assert.ok(this.producers.every(isEnough), "a connection ended before its messages were acknowledged");
  }

  /** Appends until `isEnough` holds for each producer, or the engine is gone. */
  async loadUntil(engine: EngineProcess, isEnough: (producer: LoadProducer) => boolean): Promise<void> {
    const { port, token } = engine;
    await Promise.all(
      this.producers.map(async (producer) => {
        await producer.start({ port, token });
        await producer.until(isEnough);
        await producer.drain();
      }),
    );
  }

  /** Reads everything and compares it with what was told. */
  async check(engine: EngineProcess, { hint = "" } = {}): Promise<void> {
    await withClient(engine, async (client) => {
      for (const checker of this.checkers) await checkStream(client, checker, { isFull: true });
    });
    this.assertSound(hint);
  }

  /**
   * The same after a power cut. What was read and not acknowledged may be gone, and its number stand for another message;
   * of streams that do not flush on write the newest acknowledged ones too. @returns those, and since when at the longest
   */
  async checkAfterCut(
    engine: EngineProcess,
    { hint = "" } = {},
  ): Promise<{ messageCount: number; oldestMs: number }> {
    let forgotten = { messageCount: 0, oldestMs: Infinity };
    await withClient(engine, async (client) => {
      for (const [index, checker] of this.checkers.entries()) {
        const { storageStatus } = await client.describeMessageStream(checker.stream);
        const lost = checker.forget(storageStatus.newestSequenceNumber + 1);
        if (this.streams[index]!.flushOnWrite !== true) forgotten = lost;
        else
          assert.equal(
            lost.messageCount,
            0,
            `acknowledged messages of "${checker.stream}" are gone, ${hint}`,
          );
        await checkStream(client, checker, { isFull: true });
      }
    });
    this.assertSound(hint);
    return forgotten;
  }

  assertSound(hint = ""): void {
    assert.deepEqual(
      this.checkers.flatMap(({ violations }) => violations),
      [],
      hint,
    );
  }

  get acknowledgedCount(): number {
    return this.checkers.reduce((sum, { acknowledgedCount }) => sum + acknowledgedCount, 0);
  }
  get unknownCount(): number {
    return this.checkers.reduce((sum, { unknownCount }) => sum + unknownCount, 0);
  }
  get rejectedCount(): number {
    return this.checkers.reduce((sum, { rejectedCount }) => sum + rejectedCount, 0);
  }
}

/** A client that is closed whatever becomes of its calls; those that wait for an engine that has ended fail. */
export async function withClient<T>(
  { port, token, serve }: EngineProcess,
  run: (client: MillraceClient) => Promise<T>,
): Promise<T> {
  const client = await MillraceClient.connect({ url: `ws://127.0.0.1:${port}`, ...(token && { token }) });
  const ended = serve.finished().then(({ code, signal }): never => {
    throw new Error(`the engine ended with ${String(code ?? signal)}`);
  });
  try {
    return await Promise.race([run(client), ended]);
  } finally {
    client.close();
  }
}
