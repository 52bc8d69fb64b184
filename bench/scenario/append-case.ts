import { readdirSync, statSync } from "node:fs";
import path from "node:path";
import { SUBPROTOCOL, TOKEN_SUBPROTOCOL_PREFIX } from "../../src/client/subprotocol.ts";
import { MESSAGE_OVERHEAD_BYTES } from "../../src/core/limits.ts";
import {
  emptyExportDefinition,
  type ExportDefinition,
  Persistence,
  STREAM_SEGMENT_SIZE_DEFAULT,
  StrategyOnFull,
  type MessageStreamInfo,
} from "../../src/core/stream-definition.ts";
import {
  decodeCreateMessageStreamResponse,
  encodeCreateMessageStream,
} from "../../src/wire/create-message-stream.ts";
import {
  decodeDescribeMessageStreamResponse,
  encodeDescribeMessageStream,
} from "../../src/wire/describe-message-stream.ts";
import {
  decodeOpenStreamResult,
  encodeOpenStream,
  type OpenStreamResult,
} from "../../src/wire/open-stream-layout.ts";
import { makeBenchDirectory, removeBenchDirectory } from "../clean-up.ts";
import type { DataSet } from "../data-set.ts";
import { noteMeasured } from "../measured-windows.ts";
import { AppendPipeline } from "./append-pipeline.ts";
import { FrameArena } from "./frame-arena.ts";
import { FrameSocket, type SendingWay } from "./frame-socket.ts";
import {
  processCpuSeconds,
  storageWrittenBytes,
  threadCpuSeconds,
  threadTimesBetween,
} from "./process-stats.ts";
import { ServerProcess } from "./server-process.ts";
import type { CaseEnd, CostedSlice, RunningCase, Slice } from "./slice.ts";

/** The program as it was built. */
export const engineScript = path.join(import.meta.dirname, "..", "..", "src", "millrace.js");
export const STREAM_NAME = "bench";
const WEBSOCKET_PATH = "/v1/ws";
const MIB = 1024 * 1024;
/** Bounds what a run may leave on the disk, and in memory; the oldest segments make room. */
export const FILE_STREAM_BYTES_MAX = 1024 * MIB;
const MEMORY_STREAM_BYTES_MAX = 64 * MIB;

export interface EngineOptions {
  /** The program that is measured: `serve --json` is asked of it. */
  readonly engineScript: string;
  readonly storeRoot: string;
  readonly nodeArgs: readonly string[];
  /** Settings beside those of every bench. */
  readonly env?: Readonly<Record<string, string>>;
}

export interface StreamOptions {
  readonly persistence: Persistence;
  readonly flushOnWrite: boolean;
  readonly streamSegmentSize?: number;
  /** {@link STREAM_NAME} by default. */
  readonly name?: string;
  readonly maxSize?: number;
  readonly exportDefinition?: ExportDefinition;
}

export interface AppendCaseOptions extends EngineOptions, StreamOptions {
  readonly dataSet: DataSet;
  /** Undefined: one message a frame. */
  readonly batchBytes: number | undefined;
  readonly framesInFlightMax: number;
  readonly framesPerWrite: number;
  readonly by?: SendingWay;
  /** Batches name this producer, so that each is stored once however often it is sent. */
  readonly producerId?: number;
}

/** Where an engine takes connections, as its ready line says. */
export function webSocketUrl({ host, port }: { readonly host: string; readonly port: number }): string {
  return `ws://${host}:${port}${WEBSOCKET_PATH}`;
}

/** An engine process on any free port that asks for no token, unless `env` says otherwise. */
export async function startServer(
  storeDirectory: string,
  { engineScript: script, nodeArgs, env }: Omit<EngineOptions, "storeRoot">,
): Promise<ServerProcess> {
  return ServerProcess.start({
    script,
    args: ["serve", "--json"],
    nodeArgs,
    env: {
      STREAM_MANAGER_STORE_ROOT_DIR: storeDirectory,
      STREAM_MANAGER_SERVER_PORT: "0",
      STREAM_MANAGER_AUTHENTICATE_CLIENT: "false",
      ...env,
    },
  });
}

/** An engine process on a fresh store. */
export class BenchEngine {
  readonly server: ServerProcess;
  readonly storeDirectory: string;

  private constructor(server: ServerProcess, storeDirectory: string) {
    this.server = server;
    this.storeDirectory = storeDirectory;
  }

  static async start({ storeRoot, ...options }: EngineOptions): Promise<BenchEngine> {
    const storeDirectory = makeBenchDirectory(storeRoot, "engine");
    try {
      const server = await startServer(storeDirectory, options);
      return new BenchEngine(server, storeDirectory);
    } catch (error) {
      removeBenchDirectory(storeDirectory);
      throw error;
    }
  }

  get url(): string {
    return webSocketUrl(this.server);
  }

  /** The token is needed where `env` asks for authentication. */
  async connect(token?: string): Promise<FrameSocket> {
    const protocols = token === undefined ? [] : [TOKEN_SUBPROTOCOL_PREFIX + token];
    return FrameSocket.connect(this.url, [SUBPROTOCOL, ...protocols]);
  }

  /** The page that it has for Prometheus, see {@link metricOf}. */
  async metrics(): Promise<string> {
    const answer = await fetch(`http://${this.server.host}:${this.server.port}/metrics`);
    if (!answer.ok) throw new Error(`the engine answers ${answer.status} to a look at its metrics`);
    return answer.text();
  }

  /** Of its only stream. */
  streamDirectory(): string {
    const streams = path.join(this.storeDirectory, "streams");
    const [name] = readdirSync(streams);
    if (name === undefined) throw new Error("the engine has no stream");
    return path.join(streams, name);
  }

  /** Bytes of all segment files, as their sizes say. */
  segmentBytes(): number {
    const names = readdirSync(this.storeDirectory, { recursive: true, encoding: "utf8" });
    return names
      .filter((name) => name.endsWith(".lz4"))
      .reduce((sum, name) => sum + statSync(path.join(this.storeDirectory, name)).size, 0);
  }

  async stop(): Promise<void> {
    try {
      await this.server.stop();
    } finally {
      this.#removeStore();
    }
  }

  async kill(): Promise<void> {
    await this.server.kill();
    this.#removeStore();
  }

  #removeStore(): void {
    removeBenchDirectory(this.storeDirectory);
  }
}

/** Creates a stream whose oldest messages make room. */
export async function createStream(socket: FrameSocket, options: StreamOptions): Promise<void> {
  const isFile = options.persistence === Persistence.File;
  const reply = await socket.request(
    encodeCreateMessageStream({
      requestId: "create",
      definition: {
        name: options.name ?? STREAM_NAME,
        maxSize: options.maxSize ?? (isFile ? FILE_STREAM_BYTES_MAX : MEMORY_STREAM_BYTES_MAX),
        streamSegmentSize: options.streamSegmentSize ?? STREAM_SEGMENT_SIZE_DEFAULT,
        strategyOnFull: StrategyOnFull.OverwriteOldestData,
        persistence: options.persistence,
        flushOnWrite: options.flushOnWrite,
        exportDefinition: options.exportDefinition ?? emptyExportDefinition,
      },
    }),
  );
  const { status, errorMessage } = decodeCreateMessageStreamResponse(reply);
  if (status !== 0) throw new Error(`cannot create the stream: status ${status}, ${errorMessage}`);
}

export async function openStream(socket: FrameSocket, name = STREAM_NAME): Promise<OpenStreamResult> {
  const opened = decodeOpenStreamResult(await socket.request(encodeOpenStream({ requestId: 1, name })));
  const { status, errorMessage } = opened;
  if (status !== 0) throw new Error(`cannot open the stream: status ${status}, ${errorMessage}`);
  return opened;
}

export async function describeStream(socket: FrameSocket, name = STREAM_NAME): Promise<MessageStreamInfo> {
  const reply = await socket.request(encodeDescribeMessageStream({ requestId: "describe", name }));
  const { status, errorMessage, messageStreamInfo } = decodeDescribeMessageStreamResponse(reply);
  if (!messageStreamInfo) throw new Error(`cannot describe the stream: status ${status}, ${errorMessage}`);
  return messageStreamInfo;
}

/** Fails a bench whose engine does not have all that it acknowledged. */
export function checkNewest(info: MessageStreamInfo, acknowledgedMessages: number): void {
  const { newestSequenceNumber } = info.storageStatus;
  if (newestSequenceNumber !== acknowledgedMessages - 1) {
    throw new Error(
      `messages are lost: ${acknowledgedMessages} acknowledged, the newest is number ${newestSequenceNumber}`,
    );
  }
}

/** Bytes on disk for each payload byte that the stream holds: whole segments make room, so both cover the same messages. */
export function bytesPerAcceptedByte(segmentBytes: number, info: MessageStreamInfo): number {
  const { oldestSequenceNumber, newestSequenceNumber, totalBytes } = info.storageStatus;
  const messageCount = newestSequenceNumber - oldestSequenceNumber + 1;
  return segmentBytes / (totalBytes - messageCount * MESSAGE_OVERHEAD_BYTES);
}

/** Starts an engine, and appends frames that are encoded beforehand. */
export async function startAppendCase(options: AppendCaseOptions): Promise<RunningCase> {
  const engine = await BenchEngine.start(options);
  try {
    const socket = await engine.connect();
    await createStream(socket, options);
    const { handle, nextSequence } = await openStream(socket);
    const { framesInFlightMax, framesPerWrite, batchBytes, persistence, by = "ready bytes" } = options;
    const { dataSet, producerId } = options;
    const { messages } = dataSet;
    const arena = new FrameArena({ messages, handle, batchBytes, framesPerWrite, producerId });
    const pipeline = new AppendPipeline({
      socket,
      arena,
      framesInFlightMax,
      framesPerWrite,
      by,
      nextSequence,
    });
    return {
      measure: async (seconds) => measureCosts(engine.server, async () => pipeline.run(seconds)),
      finish: async () => finish({ engine, socket, pipeline, persistence }),
      abandon: async () => engine.kill(),
    };
  } catch (error) {
    await engine.kill();
    throw error;
  }
}

async function finish(run: {
  engine: BenchEngine;
  socket: FrameSocket;
  pipeline: AppendPipeline;
  persistence: Persistence;
}): Promise<CaseEnd> {
  const { engine, socket, pipeline, persistence } = run;
  const info = await describeStream(socket);
  checkNewest(info, pipeline.acknowledgedMessages);
  const isFile = persistence === Persistence.File;
  const end = {
    rssMib: engine.server.residentPeakMib(),
    bytesPerAcceptedByte: isFile ? bytesPerAcceptedByte(engine.segmentBytes(), info) : null,
  };
  await socket.close();
  await engine.stop();
  return end;
}

/** Adds to a slice what server and driver spent on it; the driver is this process where `driverPid` names no other. */
export async function measureCosts<T extends object>(
  { pid }: { readonly pid: number },
  measure: () => Promise<T>,
  driverPid: number = process.pid,
): Promise<T & Omit<CostedSlice, keyof Slice>> {
  const driverStartS = driverCpuSeconds(driverPid);
  const serverStartS = processCpuSeconds(pid);
  const threadsBefore = threadCpuSeconds(pid);
  const writtenBefore = storageWrittenBytes(pid);
  const startMs = performance.now();
  const slice = await measure();
  noteMeasured(pid, startMs);
  const driverCpuS = driverCpuSeconds(driverPid) - driverStartS;
  const writtenAfter = storageWrittenBytes(pid);
  return {
    ...slice,
    serverCpuS: processCpuSeconds(pid) - serverStartS,
    driverCpuS,
    threads: threadTimesBetween(threadsBefore, threadCpuSeconds(pid)),
    writtenBytes:
      writtenBefore === undefined || writtenAfter === undefined ? undefined : writtenAfter - writtenBefore,
  };
}

/** Of this process finer than the system's ticks. */
function driverCpuSeconds(pid: number): number {
  if (pid !== process.pid) return processCpuSeconds(pid);
  const { user, system } = process.cpuUsage();
  return (user + system) / 1e6;
}
