import { writeFileSync } from "node:fs";
import path from "node:path";
import { Persistence } from "../../src/core/stream-definition.ts";
import { makeBenchDirectory, removeBenchDirectory } from "../clean-up.ts";
import type { Bench, BenchOptions, BenchRecord } from "../bench.ts";
import type { DataSet } from "../data-set.ts";
import { buildDriver, DriverBuildError, DriverProcess, type DriverName } from "../peers/driver-process.ts";
import { natsServer, PeerServer, redisServer, versionOf, type PeerServerKind } from "../peers/peer-server.ts";
import { engineScript, measureCosts, startAppendCase, type EngineOptions } from "./append-case.ts";
import { caseRecord, emptyCaseValues } from "./case-record.ts";
import type { SendingWay } from "./frame-socket.ts";
import { peerComparison, type ComparedCase } from "./peer-comparison.ts";
import { profileArgs } from "./profile-args.ts";
import { startProducerCase } from "./producer-case.ts";
import type { RunningCase, ScenarioCase } from "./slice.ts";
import { measureInTurns } from "./turns.ts";

const KIB = 1024;
const MESSAGE_COUNT = 32_768;
const WINDOW = 8192;
const SINGLES_PER_WRITE = 64;
const BATCH_BYTES = 64 * KIB;
/** 2 MiB in batches. */
const BATCH_WINDOW = 32;

/** What an answer means, in the same words for all: stored but not synced, or synced. */
type Durability = "answered before the sync" | "answered behind the sync";
const before: Durability = "answered before the sync";
const behind: Durability = "answered behind the sync";

interface Sending {
  readonly name: string;
  /** 0: one message each, and no frame around it. */
  readonly packBytes: number;
  /** 0: each answer is waited for. */
  readonly window: number;
}
const unbatched: Sending = { name: "one message each", packBytes: 0, window: WINDOW };
const batched: Sending = { name: "64 KiB batches", packBytes: BATCH_BYTES, window: BATCH_WINDOW };
const awaited: Sending = { name: "one message awaited", packBytes: 0, window: 0 };

interface Peer {
  readonly name: string;
  readonly driver: DriverName;
  /** Undefined where it cannot promise that. */
  readonly server: (durability: Durability) => PeerServerKind | undefined;
  readonly program: string;
  readonly debianPackage: string;
  readonly cannot: string;
  /** See {@link ComparedCase}. */
  readonly rssDecidedBy?: string;
}

/** Sync before the answer came to JetStream with 2.10 (`sync_interval: always`); Debian has 2.9. */
const peers: readonly Peer[] = [
  {
    name: "NATS JetStream",
    driver: "nats",
    server: (durability) => (durability === before ? natsServer : undefined),
    program: natsServer.program,
    debianPackage: natsServer.debianPackage,
    cannot: "syncs by itself every two minutes only, before 2.10",
  },
  {
    name: "Redis streams",
    driver: "redis",
    server: (durability) => redisServer(durability === before ? "everysec" : "always"),
    program: "redis-server",
    debianPackage: "redis-server",
    cannot: "",
    rssDecidedBy: "MAXLEN",
  },
];

interface Group {
  readonly durability: Durability;
  readonly sending: Sending;
}
const groups: readonly Group[] = [
  { durability: before, sending: unbatched },
  { durability: before, sending: batched },
  { durability: before, sending: awaited },
  { durability: behind, sending: unbatched },
  { durability: behind, sending: batched },
  { durability: behind, sending: awaited },
];

interface ReadyPeer extends Peer {
  readonly driverProgram: string;
}

/** Each peer with its compiled driver, or with what is missing for it here. */
export function readyPeers(
  build: (name: DriverName) => string = buildDriver,
): (
  | { readonly peer: Peer; readonly program: string; readonly missing?: undefined }
  | { readonly peer: Peer; readonly program?: undefined; readonly missing: string }
)[] {
  return peers.map((peer) => {
    if (versionOf(peer.program) === undefined)
      return { peer, missing: `${peer.program} is not installed (Debian: ${peer.debianPackage})` };
    try {
      return { peer, program: build(peer.driver) };
    } catch (error) {
      if (!(error instanceof DriverBuildError)) throw error;
      return { peer, missing: error.message };
    }
  });
}

/** The same messages to Millrace and to others, at the same meaning of an answer, in turns. */
export const peersBench: Bench = {
  name: "peers",
  secondsDefault: 5,
  takes: ["data-set"],
  settings: {
    data_set_messages: MESSAGE_COUNT,
    window: WINDOW,
    batch_bytes: BATCH_BYTES,
    batch_window: BATCH_WINDOW,
    nats_server: versionOf(natsServer.program) ?? "not installed",
    redis_server: versionOf("redis-server") ?? "not installed",
  },
  run: runPeers,
};

async function* runPeers(options: BenchOptions): AsyncGenerator<BenchRecord> {
  const { caseFilter, seconds, storeRoot } = options;
  const dataSet = options.createDataSet(MESSAGE_COUNT);
  const directory = makeBenchDirectory(storeRoot, "messages");
  try {
    const messagesPath = path.join(directory, "messages");
    writeMessages(messagesPath, dataSet);
    const there: ReadyPeer[] = [];
    const away: { readonly name: string; readonly missing: string }[] = [];
    for (const { peer, program, missing } of readyPeers()) {
      if (program !== undefined) there.push({ ...peer, driverProgram: program });
      else away.push({ name: peer.name, missing });
    }
    for (const group of groups) {
      const label = `${group.sending.name}, ${group.durability}`;
      const isWanted = (name: string): boolean => `${name}, ${label}`.includes(caseFilter);
      for (const { name, missing } of away.filter((peer) => isWanted(peer.name)))
        yield { name: `${name}, ${label}`, values: { ...emptyCaseValues, note: `not measured: ${missing}` } };
      const measured: ComparedCase[] = [];
      const cases = neededCases(groupCases(group, { options, dataSet, messagesPath, there }), isWanted);
      for await (const one of measureInTurns(cases, seconds)) {
        measured.push(one);
        if (isWanted(one.name)) yield caseRecord(`${one.name}, ${label}`, one.slices, { end: one.end });
      }
      const unable = there.filter((peer) => peer.server(group.durability) === undefined);
      for (const { name, cannot } of unable.filter((peer) => isWanted(peer.name)))
        yield { name: `${name}, ${label}`, values: { ...emptyCaseValues, note: `not possible: ${cannot}` } };
      for (const { name, ...figures } of comparisons(measured))
        if (isWanted(name)) yield { name: `${name}, ${label}`, ...figures };
    }
  } finally {
    removeBenchDirectory(directory);
  }
}

const PRE_ENCODED = "Millrace, pre-encoded";
const BY_WS = "Millrace by ws";
const BY_PRODUCER = "Millrace by its client's producer()";
/** What peers are compared with, in this order: clients as programs use them come first. */
const ownNames: readonly string[] = [BY_WS, BY_PRODUCER, PRE_ENCODED];

function groupCases(
  { durability, sending }: Group,
  context: {
    readonly options: BenchOptions;
    readonly dataSet: DataSet;
    readonly messagesPath: string;
    readonly there: readonly ReadyPeer[];
  },
): ScenarioCase[] {
  const { options, dataSet, messagesPath, there } = context;
  const { storeRoot, profileDirectory } = options;
  const nodeArgs = profileArgs(profileDirectory);
  const engine: EngineOptions = { engineScript, storeRoot, nodeArgs };
  const flushOnWrite = durability === behind;
  const append = (by: SendingWay) => async () =>
    startAppendCase({
      ...engine,
      dataSet,
      persistence: Persistence.File,
      flushOnWrite,
      batchBytes: sending.packBytes > 0 ? sending.packBytes : undefined,
      framesInFlightMax: Math.max(sending.window, 1),
      framesPerWrite: sending === unbatched ? SINGLES_PER_WRITE : 1,
      by,
    });
  const cases: ScenarioCase[] = [
    { name: BY_WS, start: append("ws") },
    { name: PRE_ENCODED, start: append("ready bytes") },
  ];
  if (sending === batched && durability === before) {
    cases.push({
      name: BY_PRODUCER,
      start: async () => startProducerCase({ ...engine, dataSet, batchBytes: BATCH_BYTES }),
    });
  }
  for (const { name, driver, driverProgram, server } of there) {
    const kind = server(durability);
    if (kind === undefined) continue;
    cases.push({
      name,
      start: async () =>
        startPeerCase({ kind, driver, driverProgram, storeRoot, messagesPath, sending, dataSet }),
    });
  }
  return cases;
}

async function startPeerCase(options: {
  readonly kind: PeerServerKind;
  readonly driver: DriverName;
  readonly driverProgram: string;
  readonly storeRoot: string;
  readonly messagesPath: string;
  readonly sending: Sending;
  readonly dataSet: DataSet;
}): Promise<RunningCase> {
  const { kind, driverProgram, messagesPath, sending, dataSet } = options;
  const server = await PeerServer.start(kind, options.storeRoot);
  try {
    const target = options.driver === "nats" ? `nats://127.0.0.1:${server.port}` : `127.0.0.1:${server.port}`;
    const { packBytes, window } = sending;
    const driver = await DriverProcess.start(driverProgram, { target, messagesPath, packBytes, window });
    let messageCount = 0;
    return {
      measure: async (seconds) => {
        const slice = await measureCosts(server, async () => driver.run(seconds), driver.pid);
        messageCount += slice.messageCount;
        return slice;
      },
      finish: async () => {
        const end = { rssMib: server.residentPeakMib(), bytesPerAcceptedByte: null };
        checkStored(await driver.end(), { messageCount, sending, dataSet });
        await server.stop();
        return end;
      },
      abandon: async () => {
        await driver.kill();
        await server.stop();
      },
    };
  } catch (error) {
    await server.stop();
    throw error;
  }
}

/** A peer that answers what it does not store would win. */
function checkStored(
  storedPayloads: number,
  options: { readonly messageCount: number; readonly sending: Sending; readonly dataSet: DataSet },
): void {
  const { messageCount, sending, dataSet } = options;
  const expected =
    sending.packBytes === 0
      ? messageCount
      : packedPayloadCount(dataSet.messages, messageCount, sending.packBytes);
  if (storedPayloads !== expected) {
    throw new Error(`the peer stored ${storedPayloads} payloads of ${expected} that it answered`);
  }
}

/** In how many payloads a driver packs the first `messageCount` messages, going through the data set again and again. */
export function packedPayloadCount(
  messages: readonly Uint8Array[],
  messageCount: number,
  packBytes: number,
): number {
  let payloads = 0;
  let room = 0;
  for (let index = 0; index < messageCount; index++) {
    const at = index % messages.length;
    const bytes = LENGTH_BYTES + messages[at]!.length;
    if (at === 0 || bytes > room) {
      payloads += 1;
      room = packBytes;
    }
    room -= bytes;
  }
  return payloads;
}

const LENGTH_BYTES = 4;

function writeMessages(filePath: string, { messages, payloadBytes }: DataSet): void {
  const bytes = Buffer.alloc(payloadBytes + messages.length * LENGTH_BYTES);
  let at = 0;
  for (const message of messages) {
    at = bytes.writeUInt32LE(message.length, at);
    bytes.set(message, at);
    at += message.length;
  }
  writeFileSync(filePath, bytes);
}

/** The cases that have a wanted row of their own, or stand in one that compares. */
function neededCases(
  cases: readonly ScenarioCase[],
  isWanted: (name: string) => boolean,
): readonly ScenarioCase[] {
  const isOwn = ({ name }: ScenarioCase): boolean => ownNames.includes(name);
  const needed = new Set(cases.filter(({ name }) => isWanted(name)));
  for (const own of cases.filter(isOwn)) {
    for (const peer of cases.filter((one) => !isOwn(one)))
      if (isWanted(comparisonName(own, peer))) needed.add(own).add(peer);
  }
  return cases.filter((one) => needed.has(one));
}

function comparisonName(own: { readonly name: string }, peer: { readonly name: string }): string {
  return `${own.name} / ${peer.name}`;
}

/** Each way into Millrace beside each peer of a group. */
function* comparisons(measured: readonly ComparedCase[]): Generator<BenchRecord> {
  for (const ownName of ownNames) {
    const own = measured.find(({ name }) => name === ownName);
    if (own === undefined) continue;
    for (const peer of measured.filter(({ name }) => !ownNames.includes(name))) {
      const rssDecidedBy = peers.find(({ name }) => name === peer.name)?.rssDecidedBy;
      const sides = [
        { ...own, isPreEncoded: ownName === PRE_ENCODED },
        { ...peer, rssDecidedBy },
      ] as const;
      yield { name: comparisonName(own, peer), ...peerComparison(...sides) };
    }
  }
}
