import { Persistence } from "../../src/core/stream-definition.ts";
import type { Bench, BenchOptions, BenchRecord } from "../bench.ts";
import type { DataSet } from "../data-set.ts";
import { LatencyHistogram } from "../latency-histogram.ts";
import {
  BenchEngine,
  bytesPerAcceptedByte,
  checkNewest,
  createStream,
  describeStream,
  engineScript,
  measureCosts,
  openStream,
} from "./append-case.ts";
import { caseRecord } from "./case-record.ts";
import type { FrameSocket } from "./frame-socket.ts";
import { driverLagValues, OpenLoop, type OpenLoopSlice } from "./open-loop.ts";
import { profileArgs } from "./profile-args.ts";
import { ReplayReader } from "./replay-reader.ts";

const RATE_DEFAULT = 1000;
const MESSAGE_COUNT = 32_768;
const WARM_UP_S_MAX = 1;
const subscriberCounts = [1, 8, 64] as const;

/** How long an appended message takes to its subscribers, from the time at which it was to be sent. */
export const tailBench: Bench = {
  name: "tail",
  secondsDefault: 10,
  takes: ["rate", "data-set"],
  settings: { rate: RATE_DEFAULT, data_set_messages: MESSAGE_COUNT },
  run: runTail,
};

async function* runTail(options: BenchOptions): AsyncGenerator<BenchRecord> {
  for (const count of subscriberCounts) {
    const name = count === 1 ? "1 subscriber" : `${count} subscribers`;
    if (name.includes(options.caseFilter)) yield await measure(name, options, count);
  }
}

async function measure(name: string, options: BenchOptions, subscribers: number): Promise<BenchRecord> {
  const { seconds, storeRoot, profileDirectory, rate = RATE_DEFAULT } = options;
  const nodeArgs = profileArgs(profileDirectory);
  const engine = await BenchEngine.start({ engineScript, storeRoot, nodeArgs });
  try {
    const socket = await engine.connect();
    await createStream(socket, { persistence: Persistence.File, flushOnWrite: false });
    const readers = await Promise.all(Array.from({ length: subscribers }, async () => engine.connect()));
    const dataSet = options.createDataSet(MESSAGE_COUNT);
    const load = new TailLoad({ socket, readers, dataSet, rate });
    await load.run(Math.min(seconds, WARM_UP_S_MAX));
    const slice = await measureCosts(engine.server, async () => load.run(seconds));
    const info = await describeStream(socket);
    checkNewest(info, load.sentMessages);
    const end = {
      rssMib: engine.server.residentPeakMib(),
      bytesPerAcceptedByte: bytesPerAcceptedByte(engine.segmentBytes(), info),
    };
    for (const one of [socket, ...readers]) await one.close();
    await engine.stop();
    const record = caseRecord(name, [{ ...slice, latencies: slice.pushes }], { end, waitedFor: "push" });
    const acks = slice.latencies.summary();
    return {
      ...record,
      values: { ...record.values, ...driverLagValues(slice) },
      latencies: { ...record.latencies, ...(acks && { ack: acks }) },
    };
  } finally {
    await engine.kill();
  }
}

export interface TailLoadOptions {
  readonly socket: FrameSocket;
  /** A connection for each subscriber. */
  readonly readers: readonly FrameSocket[];
  readonly dataSet: DataSet;
  readonly rate: number;
  readonly streamName?: string;
}

/** Its latencies are those of acknowledgements; the times to each subscriber stand beside. */
export interface TailSlice extends OpenLoopSlice {
  readonly pushes: LatencyHistogram;
}

/** Appends on a schedule, and has every subscriber get each message. */
export class TailLoad {
  readonly #options: TailLoadOptions;
  sentMessages = 0;

  constructor(options: TailLoadOptions) {
    this.#options = options;
  }

  /** Subscribes from the newest message on, and ends when each subscriber has had every message. */
  async run(seconds: number): Promise<TailSlice> {
    const { socket, readers, dataSet, rate, streamName } = this.#options;
    const { handle, nextSequence } = await openStream(socket, streamName);
    const count = Math.max(1, Math.round(seconds * rate));
    const end = nextSequence + count;
    const intendedMs = new Float64Array(count);
    const pushes = new LatencyHistogram();
    const reading = await Promise.all(
      readers.map(async (reader) => {
        const opened = await openStream(reader, streamName);
        const replay = new ReplayReader({
          socket: reader,
          handle: opened.handle,
          messageAt: (sequence) => dataSet.messages[(sequence - nextSequence) % dataSet.messages.length]!,
          onMessages: ({ firstSequence, endSequence }) => {
            const nowMs = performance.now();
            for (let sequence = firstSequence; sequence < endSequence; sequence++)
              pushes.add((nowMs - intendedMs[sequence - nextSequence]!) * 1000);
          },
        });
        return startReading(replay, { from: nextSequence, end });
      }),
    );
    const onSend = (sequence: number, atMs: number): void => {
      intendedMs[sequence - nextSequence] = atMs;
    };
    const loop = new OpenLoop({ socket, handle, nextSequence, dataSet, messagesPerSecond: rate, onSend });
    const [slice, counts] = await Promise.all([
      loop.run(seconds),
      Promise.all(reading.map(async ({ whenRead }) => whenRead)),
    ]);
    this.sentMessages += slice.messageCount;
    for (const { messageCount } of counts) {
      if (messageCount !== count) throw new Error(`a subscriber got ${messageCount} of ${count} messages`);
    }
    return { ...slice, pushes };
  }
}

/** Resolves once the subscription is there; what is read comes later. */
async function startReading(reader: ReplayReader, { from, end }: { from: number; end: number }) {
  let onStarted = (): void => undefined;
  const started = new Promise<void>((resolve) => {
    onStarted = resolve;
  });
  const whenRead = reader.read({ from, end, onStarted });
  // A failure before the start is told by the race, one after it by whoever waits for all that is read.
  whenRead.catch(() => undefined);
  await Promise.race([started, whenRead]);
  return { whenRead };
}
