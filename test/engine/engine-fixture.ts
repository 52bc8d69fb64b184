import { once } from "node:events";
import type { TestContext } from "node:test";
import type { Worker } from "node:worker_threads";
import { type Principal, fullRights } from "../../src/core/access-rights.ts";
import { systemClock } from "../../src/core/clock.ts";
import type { StreamDescription } from "../../src/core/stream-description.ts";
import { StatusCode } from "../../src/core/status-code.ts";
import { STREAM_START } from "../../src/core/stream-ledger.ts";
import { systemRandom } from "../../src/core/random.ts";
import type { ClientSession } from "../../src/engine/client-session.ts";
import { Engine } from "../../src/engine/engine.ts";
import { fileStorage } from "../../src/log/file-storage.ts";
import { silentLogger } from "../../src/observe/logger.ts";
import { makeStoreRoot, openStoreDirectory } from "../../src/stream/store-directory.ts";
import { decodeAppendBatchResult } from "../../src/wire/append-batch-result-layout.ts";
import { encodeAppendBatch } from "../../src/wire/append-batch-layout.ts";
import { decodeOpenStreamResult, encodeOpenStream } from "../../src/wire/open-stream-layout.ts";
import { Operation } from "../../src/wire/operation.ts";
import { type Reply, findRequestId } from "../../src/wire/reply.ts";
import {
  type StreamDocumentOperation,
  type StreamDocumentResult,
  decodeStreamDocumentResult,
  encodeStreamDocumentRequest,
} from "../../src/wire/stream-document-layout.ts";
import { officialDecoders } from "../support/golden-frames.ts";
import { temporaryDirectory } from "../support/engine-process.ts";

export interface AppendAnswer {
  readonly status: number;
  readonly firstSequence: number;
  readonly text: string;
}

/** A connection without a socket: what is sent reaches the engine before `request` returns. */
export class TestSession implements ClientSession {
  static #nextId = 1;
  readonly id = TestSession.#nextId++;
  readonly principal: Principal;
  readonly protocolVersion = "1.1.0";
  readonly pauses = new Set<string>();
  readonly isOpen = true;
  bufferedBytes = 0;
  readonly #engine: Engine;
  readonly #replies = new Map<string, (frame: Buffer) => void>();
  readonly #appends = new Map<number, (answer: AppendAnswer) => void>();
  #nextRequestId = 1;

  constructor(engine: Engine, principal: Principal = { name: "owner", rights: fullRights }) {
    this.#engine = engine;
    this.principal = principal;
    engine.onOpen(this);
  }

  send(frame: Uint8Array): void {
    const bytes = Buffer.from(frame);
    if (bytes[0] === Operation.AppendBatchResult) {
      decodeAppendBatchResult(bytes, (requestId, status, firstSequence, text) => {
        this.#appends.get(requestId)?.({ status, firstSequence, text });
        this.#appends.delete(requestId);
      });
      return;
    }
    const requestId = requestIdOf(bytes);
    const reply = this.#replies.get(requestId);
    this.#replies.delete(requestId);
    reply?.(bytes);
  }

  pause(reason: string): void {
    this.pauses.add(reason);
  }

  resume(reason: string): void {
    this.pauses.delete(reason);
  }

  close(reason: string): void {
    throw new Error(`the engine closed the connection: ${reason}`);
  }

  /** One request of the stream manager's protocol. */
  async request<T extends Reply>(encode: (requestId: string) => Uint8Array): Promise<T> {
    const requestId = String(this.#nextRequestId++);
    const frame = await this.#ask(requestId, encode(requestId));
    return officialDecoders[frame[0]!]!(frame) as T;
  }

  async openStream(name: string): Promise<number> {
    for (;;) {
      const requestId = this.#nextRequestId++;
      const frame = await this.#ask(String(requestId), encodeOpenStream({ requestId, name }));
      const { status, handle, errorMessage } = decodeOpenStreamResult(frame);
      if (status === StatusCode.Success) return handle;
      // A failure's handle is 0, which is another stream's.
      if (status !== StatusCode.ServerBusy) throw new Error(errorMessage);
      await new Promise((resolve) => setImmediate(resolve));
    }
  }

  /** A request about a stream by a document. */
  async askDocument(
    operation: StreamDocumentOperation,
    name: string,
    document = "",
  ): Promise<StreamDocumentResult> {
    const requestId = this.#nextRequestId++;
    const request = encodeStreamDocumentRequest(operation, { requestId, name, document });
    return decodeStreamDocumentResult(await this.#ask(String(requestId), request));
  }

  async describeStream(name: string): Promise<StreamDescription> {
    const { status, errorMessage, document } = await this.askDocument(Operation.DescribeStream, name);
    if (status !== StatusCode.Success) throw new Error(errorMessage);
    return JSON.parse(document) as StreamDescription;
  }

  append(
    handle: number,
    messages: readonly string[],
    producer?: { readonly id: number; readonly sequence: number },
  ): Promise<AppendAnswer> {
    const requestId = this.#nextRequestId++;
    const payloads = messages.map((message) => Buffer.from(message));
    const batch = { handle, requestId, messages: payloads, ...(producer && { producer }) };
    return new Promise((resolve) => {
      this.#appends.set(requestId, resolve);
      this.#receive(encodeAppendBatch(batch));
    });
  }

  /** As over a socket, whose buffer has other bytes when the call returns. */
  #receive(frame: Uint8Array): void {
    this.#engine.onFrame(this, frame);
    frame.fill(0xff);
  }

  #ask(requestId: string, frame: Uint8Array): Promise<Buffer> {
    return new Promise((resolve) => {
      this.#replies.set(requestId, resolve);
      this.#receive(frame);
    });
  }
}

function requestIdOf(frame: Buffer): string {
  switch (frame[0]) {
    case Operation.OpenStreamResult:
      return String(decodeOpenStreamResult(frame).requestId);
    case Operation.DescribeStreamResult:
    case Operation.ConfigureStreamResult:
    case Operation.CreateStreamResult:
      return String(decodeStreamDocumentResult(frame).requestId);
    default:
      return findRequestId(frame) ?? "";
  }
}

export interface TestEngine {
  readonly engine: Engine;
  readonly storeDirectory: string;
  /** Stream workers in the order in which they were started, dead ones too. */
  readonly workers: Worker[];
  /** Resolves with the next worker that starts. */
  readonly nextWorker: () => Promise<Worker>;
}

/** The engine with real workers on a real store, without a port and without exports. */
export async function startTestEngine(
  t: TestContext,
  options: {
    storeDirectory?: string;
    workerCountMax?: number;
    ringBytes?: number;
    memoryStreamBytesMax?: number;
    fileDirectories?: readonly string[];
  } = {},
): Promise<TestEngine> {
  const storeDirectory = options.storeDirectory ?? `${temporaryDirectory(t)}/store`;
  const workers: Worker[] = [];
  const onWorker = (worker: Worker): void => void workers.push(worker);
  process.on("worker", onWorker);
  t.after(() => process.off("worker", onWorker));
  makeStoreRoot(fileStorage, storeDirectory);
  const contents = openStoreDirectory({ storage: fileStorage, storeDirectory });
  const { epoch } = contents;
  const engine = new Engine({
    clock: systemClock,
    random: systemRandom,
    logger: silentLogger,
    storeDirectory,
    streamsMax: 100,
    messageBytesMax: 16 * 1024 * 1024,
    fileDirectories: options.fileDirectories ?? [],
    workerCountMax: options.workerCountMax ?? 1,
    ringBytes: options.ringBytes ?? 4 * 1024 * 1024,
    worker: {
      storeDirectory,
      epoch,
      blockBytes: 64 * 1024,
      syncIntervalMs: 100,
      syncBytes: 4 * 1024 * 1024,
      commitAlignBytes: 4096,
      diskFreeMinBytes: 0,
      memoryStreamBytesMax: options.memoryStreamBytesMax ?? 2 ** 30,
    },
    exports: {
      addStream: () => undefined,
      updateStream: () => undefined,
      removeStream: () => Promise.resolve(),
      onProgress: () => undefined,
      statuses: () => [],
      durablePosition: () => undefined,
      ledgers: () => [],
      states: () => [],
      retry: () => [],
      redrives: {
        isEnding: () => false,
        position: () => 0,
        kindOf: () => "",
        start: () => undefined,
        states: () => [],
      },
    },
    exportedEnd: () => STREAM_START,
  });
  t.after(() => engine.workers.terminate());
  await engine.recover(contents);
  const nextWorker = async (): Promise<Worker> => ((await once(process, "worker")) as [Worker])[0];
  return { engine, storeDirectory, workers, nextWorker };
}
