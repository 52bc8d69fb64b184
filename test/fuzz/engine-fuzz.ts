import assert from "node:assert/strict";
import { once } from "node:events";
import { connect } from "node:net";
import { StatusCode } from "../../src/core/status-code.ts";
import { encodeListStreams } from "../../src/wire/list-streams.ts";
import { Operation } from "../../src/wire/operation.ts";
import type { Reply } from "../../src/wire/reply.ts";
import {
  decodeStreamDocumentResult,
  encodeStreamDocumentRequest,
} from "../../src/wire/stream-document-layout.ts";
import { decodeUnknownOperationError } from "../../src/wire/unknown-operation.ts";
import { type FrameLink, openTcpLink, openWebSocketLink } from "../support/frame-link.ts";
import { officialDecoders } from "../support/golden-frames.ts";
import type { EngineInputs } from "./engine-inputs.ts";
import type { FuzzedEngine } from "./fuzzed-engine.ts";

const BATCH = 128;
const RAW_CONNECTIONS = 8;
const ANSWER_MS_MAX = 60_000;
/** Official clients die of anything else (PROTOCOL 9.1 row 6). */
const ANSWERS = new Set<number>([6, 7, 8, 9, 10, 12, 14, 16, 17]);

export interface EngineFuzzCounts {
  inputs: number;
  answers: number;
  connections: number;
  closedByEngine: number;
}

/** Sends mutated requests to an engine, over both transports and below them, and looks at what it answers. */
export class EngineFuzz {
  readonly counts: EngineFuzzCounts = { inputs: 0, answers: 0, connections: 0, closedByEngine: 0 };
  readonly #target: FuzzedEngine;
  readonly #inputs: EngineInputs;
  #tcp: OpenLink | undefined;
  #webSocket: OpenLink | undefined;
  #marker = 0;

  constructor(target: FuzzedEngine, inputs: EngineInputs) {
    this.#target = target;
    this.#inputs = inputs;
  }

  /** Sends at least so many inputs. */
  async run(inputCount: number): Promise<void> {
    const end = this.counts.inputs + inputCount;
    for (let round = 0; this.counts.inputs < end; round++) {
      await this.#roundOverTcp();
      await this.#roundOverWebSocket();
      if (round % 4 === 0) await this.#rawRound();
      if (round % 16 === 0) await this.#target.serveGoodClient();
      if (round % 32 === 31) await this.#target.removeStreams();
    }
    await this.#target.serveGoodClient();
  }

  async close(): Promise<void> {
    for (const open of [this.#tcp, this.#webSocket]) {
      open?.link.destroy();
      await open?.link.closed;
    }
    this.#tcp = undefined;
    this.#webSocket = undefined;
  }

  /** Every request has one answer, unless the connection ends. */
  async #roundOverTcp(): Promise<void> {
    const open = (this.#tcp = await this.#reopened(this.#tcp, openTcpLink, checkOfficialAnswer));
    const frames = this.#inputs.official(BATCH);
    this.counts.inputs += frames.length;
    const answersDue = open.answers + frames.length + 1;
    for (const frame of frames) open.link.send(frame);
    open.link.send(encodeListStreams({ requestId: `end ${this.#marker++}` }));
    await this.#until(open, () => open.answers >= answersDue, frames);
    // A second answer to a request ends the client that gets it (PROTOCOL 9.1 row 3).
    if (!open.isClosed) assert.equal(open.answers, answersDue, "one answer to each request");
  }

  /** Not everything has an answer of its own here; the last request does. */
  async #roundOverWebSocket(): Promise<void> {
    const marker = (this.#marker = (this.#marker + 1) % 2 ** 31);
    let isAnswered = false;
    const open = (this.#webSocket = await this.#reopened(this.#webSocket, openWebSocketLink, checkAnyAnswer));
    open.onAnswer = (frame) => {
      if (frame[0] !== Operation.DescribeStream + 1) return;
      isAnswered ||= decodeStreamDocumentResult(frame).requestId === marker;
    };
    const frames = this.#inputs.mixed(BATCH);
    this.counts.inputs += frames.length;
    for (const frame of frames) open.link.send(frame);
    const last = { requestId: marker, name: "nobody's", document: "" };
    open.link.send(encodeStreamDocumentRequest(Operation.DescribeStream, last));
    await this.#until(open, () => isAnswered, frames);
  }

  /** Whole connections of mutated bytes: each ends when the client has said its last. */
  async #rawRound(): Promise<void> {
    const { port, token } = this.#target.engine;
    const upgrade =
      `GET /v1/ws HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n` +
      `Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n` +
      `Sec-WebSocket-Protocol: millrace.v1\r\nAuthorization: Bearer ${token!}\r\n\r\n`;
    const connections = Array.from({ length: RAW_CONNECTIONS }, (_, index) =>
      index % 2 === 0
        ? this.#inputs.connection()
        : Buffer.concat([Buffer.from(upgrade), this.#inputs.webSocketBytes()]),
    );
    this.counts.inputs += connections.length;
    await Promise.all(connections.map((bytes) => this.#sendRaw(port, bytes)));
  }

  async #sendRaw(port: number, bytes: Uint8Array): Promise<void> {
    const socket = connect({ port, host: "127.0.0.1" });
    socket.on("error", () => undefined);
    const closed = once(socket, "close");
    socket.resume();
    socket.end(bytes);
    this.counts.connections += 1;
    await within(closed, () => `a connection does not end: ${Buffer.from(bytes).toString("hex")}`);
    socket.destroy();
  }

  async #reopened(
    open: OpenLink | undefined,
    openLink: typeof openTcpLink,
    check: (frame: Uint8Array) => void,
  ): Promise<OpenLink> {
    if (open !== undefined && !open.isClosed) return open;
    if (open !== undefined) this.counts.closedByEngine += 1;
    this.counts.connections += 1;
    const fresh = new OpenLink(check, () => (this.counts.answers += 1));
    const { port, token } = this.#target.engine;
    await fresh.open(openLink, { port, token });
    return fresh;
  }

  async #until(open: OpenLink, isDone: () => boolean, frames: readonly Uint8Array[]): Promise<void> {
    await within(open.until(isDone), () => {
      const sent = frames.map((frame) => Buffer.from(frame).toString("hex")).join("\n");
      return `no answer, ${open.answers} came, to one of\n${sent}`;
    });
  }
}

/** A connection, how many answers came over it, and the first that was none. */
class OpenLink {
  link!: FrameLink;
  answers = 0;
  isClosed = false;
  onAnswer: (frame: Uint8Array) => void = () => undefined;
  readonly #check: (frame: Uint8Array) => void;
  readonly #count: () => void;
  #fault: Error | undefined;
  #wake: () => void = () => undefined;

  constructor(check: (frame: Uint8Array) => void, count: () => void) {
    this.#check = check;
    this.#count = count;
  }

  async open(openLink: typeof openTcpLink, to: { port: number; token: string | undefined }): Promise<void> {
    this.link = await openLink({ ...to, onFrame: (frame) => this.#take(frame) });
    void this.link.closed.then(() => {
      this.isClosed = true;
      this.#wake();
    });
  }

  /** Resolves when it is so, or the connection has ended. @throws for an answer that is none */
  async until(isDone: () => boolean): Promise<void> {
    while (!this.isClosed && this.#fault === undefined && !isDone())
      await new Promise<void>((resolve) => (this.#wake = resolve));
    if (this.#fault !== undefined) throw this.#fault;
  }

  #take(frame: Buffer): void {
    this.answers += 1;
    this.#count();
    try {
      this.#check(frame);
      this.onAnswer(frame);
    } catch (thrown) {
      const text = thrown instanceof Error ? thrown.message : String(thrown);
      this.#fault ??= new Error(`${text}, in the answer ${frame.toString("hex")}`);
    }
    this.#wake();
  }
}

function checkOfficialAnswer(frame: Uint8Array): void {
  const operation = frame[0]!;
  assert.ok(ANSWERS.has(operation), `operation ${operation} is an answer`);
  const decode = officialDecoders[operation] ?? decodeUnknownOperationError;
  const { status, errorMessage } = decode(frame) as Reply;
  assert.ok(status <= StatusCode.UnknownOperation, `status ${status} is one of the protocol`);
  // Whatever else has this status is a failure of ours.
  if (status === StatusCode.UnknownFailure) assert.match(errorMessage, /^(rejected|unknown outcome)/);
}

function checkAnyAnswer(frame: Uint8Array): void {
  if (frame[0]! < Operation.OpenStream) checkOfficialAnswer(frame);
}

async function within<T>(promise: Promise<T>, describe: () => string): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(new Error(describe())), ANSWER_MS_MAX);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}
