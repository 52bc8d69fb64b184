import { MillraceClient } from "../../src/client/millrace-client.ts";
import { SUBPROTOCOL } from "../../src/client/subprotocol.ts";
import { makeBenchDirectory, removeBenchDirectory } from "../clean-up.ts";
import type { Bench, BenchOptions, BenchRecord } from "../bench.ts";
import { LatencyHistogram } from "../latency-histogram.ts";
import {
  engineScript,
  measureCosts,
  openStream,
  startServer,
  STREAM_NAME,
  webSocketUrl,
} from "./append-case.ts";
import { caseRecord, emptyCaseValues } from "./case-record.ts";
import { fillStore, messageAt, type Stored } from "./filled-store.ts";
import { FrameSocket } from "./frame-socket.ts";
import { COLD_NOTE, dropCaches } from "./page-cache.ts";
import { profileArgs } from "./profile-args.ts";
import { type ReplayCounts, ReplayReader } from "./replay-reader.ts";
import type { ServerProcess } from "./server-process.ts";
import type { CostedSlice, Slice } from "./slice.ts";

const MESSAGE_COUNT = 32_768;
/** What a round reads for each second of the case. */
const MESSAGES_PER_S = 400_000;
const MESSAGES_MAX = 2_000_000;
const ROUNDS_MAX = 5;
const READERS = 4;
const MESSAGES_PER_READ = 10_000;

/** Reads the whole stream once. @returns what all readers got together */
type Replay = () => Promise<ReplayCounts>;

interface ReplayCase {
  readonly name: string;
  readonly isCold?: boolean;
  readonly readers?: number;
  readonly start: (
    server: ServerProcess,
    stored: Stored,
  ) => Promise<{ replay: Replay; close: () => Promise<void> }>;
}

const cases: readonly ReplayCase[] = [
  { name: "by subscription", start: async (...on) => startReaders(1, ...on) },
  {
    name: "by subscription, not in the page cache",
    isCold: true,
    start: async (...on) => startReaders(1, ...on),
  },
  {
    name: `by subscription, ${READERS} readers`,
    readers: READERS,
    start: async (...on) => startReaders(READERS, ...on),
  },
  { name: "by subscribe() of the client", start: async (...on) => startClient(subscribeAll, ...on) },
  { name: "by readMessages() of the client", start: async (...on) => startClient(readAll, ...on) },
];

/** How fast a stored stream is read, whole and again and again, with the messages counted and compared. */
export const replayBench: Bench = {
  name: "replay",
  secondsDefault: 5,
  takes: ["data-set"],
  settings: { data_set_messages: MESSAGE_COUNT, messages_per_read: MESSAGES_PER_READ },
  run: runReplay,
};

async function* runReplay(options: BenchOptions): AsyncGenerator<BenchRecord> {
  const { caseFilter, seconds, storeRoot, profileDirectory } = options;
  const named = cases.filter(({ name }) => name.includes(caseFilter));
  const wanted = named.filter(({ isCold }) => isCold !== true || dropCaches());
  for (const { name } of named.filter((one) => !wanted.includes(one)))
    yield { name, values: { ...emptyCaseValues, note: COLD_NOTE } };
  if (wanted.length === 0) return;
  const nodeArgs = profileArgs(profileDirectory);
  const rounds = Math.min(Math.max(Math.floor(seconds), 1), ROUNDS_MAX);
  const messagesMin = Math.min(Math.round(seconds * MESSAGES_PER_S), MESSAGES_MAX);
  const storeDirectory = makeBenchDirectory(storeRoot, "replay");
  let server: ServerProcess | undefined;
  try {
    const stored = await fillStore(storeDirectory, {
      messagesMin,
      dataSet: options.createDataSet(MESSAGE_COUNT),
    });
    server = await startServer(storeDirectory, { engineScript, nodeArgs });
    yield* measureAll(wanted, { server, stored, rounds });
    await server.stop();
  } finally {
    await server?.kill();
    removeBenchDirectory(storeDirectory);
  }
}

/** In turns, because the machine changes from second to second. The first round of each warms up. */
async function* measureAll(
  wanted: readonly ReplayCase[],
  {
    server,
    stored,
    rounds,
  }: { readonly server: ServerProcess; readonly stored: Stored; readonly rounds: number },
): AsyncGenerator<BenchRecord> {
  const running = [];
  for (const one of wanted) {
    const started = await one.start(server, stored);
    running.push({ ...one, ...started, slices: [] as CostedSlice[], rssMib: 0 });
  }
  for (let round = 0; round <= rounds; round++) {
    for (const one of running) {
      if (one.isCold === true) dropCaches();
      const slice = await measureCosts(server, async () => timed(one.replay));
      checkCounts(slice, stored, one.readers ?? 1);
      if (round > 0) one.slices.push(slice);
      one.rssMib = Math.max(one.rssMib, server.residentMib());
    }
  }
  for (const { name, slices, rssMib, close } of running) {
    await close();
    yield caseRecord(name, slices, { end: { rssMib, bytesPerAcceptedByte: null }, waitedFor: null });
  }
}

async function timed(replay: Replay): Promise<Slice> {
  const startMs = performance.now();
  const counts = await replay();
  return {
    ...counts,
    elapsedS: (performance.now() - startMs) / 1000,
    latencies: new LatencyHistogram(),
  };
}

function checkCounts({ messageCount, payloadBytes }: Slice, stored: Stored, readers: number): void {
  if (messageCount === stored.messageCount * readers && payloadBytes === stored.payloadBytes * readers)
    return;
  throw new Error(
    `${readers} readers got ${messageCount} messages of ${payloadBytes} bytes; ` +
      `each should have had ${stored.messageCount} of ${stored.payloadBytes}`,
  );
}

async function startReaders(
  count: number,
  server: ServerProcess,
  { messageCount, turn }: Stored,
): ReturnType<ReplayCase["start"]> {
  const readers: ReplayReader[] = [];
  const sockets: FrameSocket[] = [];
  for (let index = 0; index < count; index++) {
    const socket = await FrameSocket.connect(webSocketUrl(server), [SUBPROTOCOL]);
    const { handle } = await openStream(socket);
    sockets.push(socket);
    readers.push(new ReplayReader({ socket, handle, messageAt: (sequence) => messageAt(turn, sequence) }));
  }
  return {
    replay: async () => {
      const all = await Promise.all(
        readers.map(async (reader) => reader.read({ from: 0, end: messageCount })),
      );
      return {
        messageCount: all.reduce((sum, counts) => sum + counts.messageCount, 0),
        payloadBytes: all.reduce((sum, counts) => sum + counts.payloadBytes, 0),
      };
    },
    close: async () => {
      for (const socket of sockets) await socket.close();
    },
  };
}

async function startClient(
  read: (client: MillraceClient, stored: Stored) => Promise<ReplayCounts>,
  { host, port }: ServerProcess,
  stored: Stored,
): ReturnType<ReplayCase["start"]> {
  const client = await MillraceClient.connect({ url: `ws://${host}:${port}` });
  return {
    replay: async () => read(client, stored),
    close: () => {
      client.close();
      return Promise.resolve();
    },
  };
}

async function subscribeAll(client: MillraceClient, stored: Stored): Promise<ReplayCounts> {
  const subscription = await client.subscribe(STREAM_NAME, { from: 0 });
  let messageCount = 0;
  let payloadBytes = 0;
  while (messageCount < stored.messageCount) {
    const batch = await subscription.nextBatch();
    const [first] = batch ?? [];
    if (batch === undefined || first === undefined) throw new Error("the subscription ended");
    checkMessage(first.sequence, first.payload, stored);
    messageCount += batch.length;
    for (const { payload } of batch) payloadBytes += payload.length;
  }
  subscription.close();
  return { messageCount, payloadBytes };
}

async function readAll(client: MillraceClient, stored: Stored): Promise<ReplayCounts> {
  let messageCount = 0;
  let payloadBytes = 0;
  while (messageCount < stored.messageCount) {
    const messages = await client.readMessages(STREAM_NAME, {
      desiredStartSequenceNumber: messageCount,
      maxMessageCount: MESSAGES_PER_READ,
    });
    const [first] = messages;
    if (first?.sequenceNumber !== messageCount) throw new Error(`no message ${messageCount} was read`);
    checkMessage(first.sequenceNumber, first.payload, stored);
    messageCount += messages.length;
    for (const { payload } of messages) payloadBytes += payload.length;
  }
  return { messageCount, payloadBytes };
}

function checkMessage(sequence: number, payload: Uint8Array, { turn }: Stored): void {
  if (Buffer.compare(payload, messageAt(turn, sequence)) === 0) return;
  throw new Error(`message ${sequence} is not the one that was appended`);
}
