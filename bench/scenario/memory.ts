import { setTimeout as sleep } from "node:timers/promises";
import { MillraceClient } from "../../src/client/millrace-client.ts";
import { emptyExportDefinition, Persistence } from "../../src/core/stream-definition.ts";
import type { Bench, BenchOptions, BenchRecord } from "../bench.ts";
import type { DataSet } from "../data-set.ts";
import {
  BenchEngine,
  checkNewest,
  createStream,
  describeStream,
  engineScript,
  openStream,
} from "./append-case.ts";
import { AppendPipeline } from "./append-pipeline.ts";
import { fillStream } from "./filled-store.ts";
import { FrameArena } from "./frame-arena.ts";
import type { FrameSocket } from "./frame-socket.ts";
import { KinesisTarget } from "./kinesis-target.ts";
import { MemorySampler } from "./memory-sampler.ts";
import { profileArgs } from "./profile-args.ts";
import { ReplayThread } from "./replay-thread.ts";

const KIB = 1024;
const MESSAGE_COUNT = 32_768;
const BATCH_BYTES = 64 * KIB;
const FRAMES_IN_FLIGHT = 32;
const STORED_STREAM = "stored";
const STORED_MESSAGES_PER_S = 200_000;
const STORED_MESSAGES_MAX = 1_000_000;
const EXPORTER = "memory";
const EXPORT_POLL_MS = 20;
const EXPORT_DEADLINE_MS = 60_000;

/** What one engine has resident while it goes through its kinds of work, one after the other. */
export const memoryBench: Bench = {
  name: "memory",
  secondsDefault: 10,
  takes: ["data-set"],
  settings: {
    data_set_messages: MESSAGE_COUNT,
    batch_bytes: BATCH_BYTES,
    frames_in_flight: FRAMES_IN_FLIGHT,
  },
  run: runMemory,
};

async function* runMemory(options: BenchOptions): AsyncGenerator<BenchRecord> {
  const { caseFilter, storeRoot, profileDirectory } = options;
  const nodeArgs = profileArgs(profileDirectory);
  const target = await KinesisTarget.start();
  let engine: BenchEngine | undefined;
  let run: MemoryRun | undefined;
  try {
    engine = await BenchEngine.start({ engineScript, storeRoot, nodeArgs, env: target.environment });
    run = new MemoryRun(engine, target, options);
    for (const { name, work } of run.phases()) {
      const sampler = new MemorySampler(engine.server.pid);
      try {
        await work();
      } finally {
        sampler.stop();
      }
      if (name.includes(caseFilter)) yield { name, values: sampler.values() };
    }
    await run.finish();
    await engine.stop();
    await target.stop();
  } finally {
    await run?.abandon();
    await engine?.kill();
    await target.kill();
  }
}

interface Phase {
  readonly name: string;
  readonly work: () => Promise<unknown>;
}

/** The work of each phase, on one engine. */
class MemoryRun {
  readonly #engine: BenchEngine;
  readonly #target: KinesisTarget;
  readonly #seconds: number;
  readonly #dataSet: DataSet;
  #socket: FrameSocket | undefined;
  #pipeline: AppendPipeline | undefined;
  #replay: ReplayThread | undefined;

  constructor(engine: BenchEngine, target: KinesisTarget, { seconds, createDataSet }: BenchOptions) {
    this.#engine = engine;
    this.#target = target;
    this.#seconds = seconds;
    this.#dataSet = createDataSet(MESSAGE_COUNT);
  }

  phases(): readonly Phase[] {
    const append = async (): Promise<unknown> => this.#pipeline!.run(this.#seconds);
    const replay = async (): Promise<unknown> => this.#replay!.run(this.#seconds);
    const idle = async (): Promise<unknown> => sleep(this.#seconds * 1000);
    return [
      { name: "idle, no streams", work: idle },
      { name: "start of a stream", work: async () => this.#startAppending() },
      { name: "append 64 KiB batches", work: append },
      { name: "fill a second stream", work: async () => this.#startReplaying() },
      { name: "append and replay", work: async () => Promise.all([append(), replay()]) },
      { name: "replay", work: replay },
      { name: "export", work: async () => this.#export() },
      { name: "idle again", work: idle },
    ];
  }

  async #startAppending(): Promise<void> {
    const socket = await this.#engine.connect();
    this.#socket = socket;
    await createStream(socket, { persistence: Persistence.File, flushOnWrite: false });
    const { handle, nextSequence } = await openStream(socket);
    const { messages } = this.#dataSet;
    this.#pipeline = new AppendPipeline({
      socket,
      arena: new FrameArena({ messages, handle, batchBytes: BATCH_BYTES, framesPerWrite: 1 }),
      framesInFlightMax: FRAMES_IN_FLIGHT,
      framesPerWrite: 1,
      by: "ready bytes",
      nextSequence,
    });
  }

  async #startReplaying(): Promise<void> {
    const socket = this.#socket!;
    await createStream(socket, { persistence: Persistence.File, flushOnWrite: false, name: STORED_STREAM });
    const messagesMin = Math.min(Math.round(this.#seconds * STORED_MESSAGES_PER_S), STORED_MESSAGES_MAX);
    const stored = await fillStream(socket, { messagesMin, dataSet: this.#dataSet, name: STORED_STREAM });
    const { messageCount, turn } = stored;
    const streamName = STORED_STREAM;
    this.#replay = await ReplayThread.start({ url: this.#engine.url, streamName, messageCount, turn });
  }

  /** Ends when the phase is over and something was exported. */
  async #export(): Promise<void> {
    const { host, port } = this.#engine.server;
    const client = await MillraceClient.connect({ url: `ws://${host}:${port}` });
    try {
      const { definition } = await client.describeMessageStream(STORED_STREAM);
      const kinesis = [{ identifier: EXPORTER, kinesisStreamName: "target" }];
      await client.updateMessageStream({
        ...definition,
        exportDefinition: { ...emptyExportDefinition, kinesis },
      });
      const startMs = performance.now();
      for (;;) {
        const elapsedMs = performance.now() - startMs;
        const { records } = await this.#target.counts();
        if (records > 0 && elapsedMs >= this.#seconds * 1000) break;
        if (elapsedMs > this.#seconds * 1000 + EXPORT_DEADLINE_MS) throw new Error("nothing was exported");
        await sleep(EXPORT_POLL_MS);
      }
      // The next phase is idle.
      await client.updateMessageStream({ ...definition, exportDefinition: emptyExportDefinition });
    } finally {
      client.close();
    }
  }

  /** Checks that the engine has what it acknowledged. */
  async finish(): Promise<void> {
    const socket = this.#socket!;
    checkNewest(await describeStream(socket), this.#pipeline!.acknowledgedMessages);
    await this.abandon();
    await socket.close();
  }

  async abandon(): Promise<void> {
    await this.#replay?.stop();
  }
}
