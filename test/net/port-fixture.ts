import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { connect, type Socket } from "node:net";
import path from "node:path";
import type { TestContext } from "node:test";
import { systemClock } from "../../src/core/clock.ts";
import { openAuthenticator } from "../../src/net/authenticator.ts";
import { listenPort, type Port, type PortOptions } from "../../src/net/listen-port.ts";
import type { PortLimits } from "../../src/net/port-limits.ts";
import type { RequestHandler, Session } from "../../src/net/request-handler.ts";
import { Health } from "../../src/observe/health.ts";
import { silentLogger } from "../../src/observe/logger.ts";
import { Metrics } from "../../src/observe/metrics.ts";
import { encodeAppendMessageResponse } from "../../src/wire/append-message.ts";
import { success } from "../../src/wire/reply.ts";
import { Inbox } from "../support/inbox.ts";

export const EXAMPLE_TOKEN = "EXAMPLETOKEN0123";

export interface ReceivedFrame {
  readonly session: Session;
  readonly frame: Buffer;
}

/** Keeps copies of what it is told. `onRequest` is called inside onFrame. */
export class RecordingHandler implements RequestHandler {
  readonly opened = new Inbox<Session>();
  readonly frames = new Inbox<ReceivedFrame>();
  readonly drained = new Inbox<Session>();
  readonly closed = new Inbox<Session>();
  onRequest: (session: Session, frame: Buffer) => void = () => undefined;

  onOpen(session: Session): void {
    this.opened.put(session);
  }

  onFrame(session: Session, frame: Uint8Array): void {
    const copy = Buffer.from(frame);
    this.frames.put({ session, frame: copy });
    this.onRequest(session, copy);
  }

  onDrain(session: Session): void {
    this.drained.put(session);
  }

  onClose(session: Session): void {
    this.closed.put(session);
  }
}

export interface TestPort {
  readonly port: Port;
  readonly handler: RecordingHandler;
  readonly health: Health;
  readonly url: string;
}

/** A port on a free number, ready unless told otherwise, whose deadlines are looked at every 5 ms. */
export async function openTestPort(
  t: TestContext,
  options: { limits?: Partial<PortLimits>; isReady?: boolean } & Partial<Omit<PortOptions, "limits">> = {},
): Promise<TestPort> {
  const { limits, isReady = true, ...more } = options;
  const handler = new RecordingHandler();
  const health = new Health();
  if (isReady) health.setReady();
  const port = await listenPort({
    host: "127.0.0.1",
    port: 0,
    handler,
    health,
    authenticator: openAuthenticator,
    metrics: new Metrics(),
    logger: silentLogger,
    clock: systemClock,
    allowedHosts: [],
    allowedOrigins: [],
    serverVersion: "0.0.0-test",
    limits: { sweepIntervalMs: 5, shutdownDeadlineMs: 20, lingerDeadlineMs: 100, ...limits },
    ...more,
  });
  t.after(() => port.close());
  return { port, handler, health, url: `http://127.0.0.1:${port.port}` };
}

/** A bare socket that keeps what it hears, and how it ended. */
export class RawClient {
  readonly socket: Socket;
  /** `end` is a FIN of the peer; otherwise the error's code; `close` when neither was seen. */
  readonly ending: Promise<string>;
  #received = Buffer.alloc(0);
  #onBytes: () => void = () => undefined;

  constructor(t: TestContext, port: number) {
    this.socket = connect({ port, host: "127.0.0.1", allowHalfOpen: true });
    this.socket.setNoDelay();
    this.socket.on("data", (chunk: Buffer) => {
      this.#received = Buffer.concat([this.#received, chunk]);
      this.#onBytes();
    });
    this.ending = new Promise((resolve) => {
      this.socket.once("end", () => resolve("end"));
      this.socket.on("error", (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message));
      this.socket.once("close", () => resolve("close"));
    });
    t.after(() => this.socket.destroy());
  }

  get received(): Buffer {
    return this.#received;
  }

  write(bytes: Uint8Array | string): void {
    this.socket.write(bytes);
  }

  /** The next `count` bytes; fails when the connection ends before. */
  async take(count: number): Promise<Buffer> {
    while (this.#received.length < count) {
      const more = new Promise<"more">((resolve) => (this.#onBytes = () => resolve("more")));
      const happened = await Promise.race([more, this.ending]);
      if (happened === "more" || this.#received.length >= count) continue;
      assert.fail(`connection ended (${happened}) after ${this.#received.length} of ${count} bytes`);
    }
    const taken = this.#received.subarray(0, count);
    this.#received = this.#received.subarray(count);
    return taken;
  }

  /** One frame over TCP, operation first. */
  async takeFrame(): Promise<Buffer> {
    const header = await this.take(4);
    return this.take(header.readUInt32BE());
  }

  /** The connect byte and the ConnectResponse frame. */
  async takeConnectResponse(): Promise<Buffer> {
    assert.equal((await this.take(1))[0], 1);
    return this.takeFrame();
  }

  /** Everything until the peer's FIN. */
  async takeAll(): Promise<Buffer> {
    assert.equal(await this.ending, "end");
    return this.#received;
  }
}

/** A captured byte stream of an official client. */
export function vector(name: string): Buffer {
  const file = path.join(import.meta.dirname, "..", "..", "..", "test", "golden", "vectors", `${name}.hex`);
  return Buffer.from(readFileSync(file, "latin1").replace(/\s/g, ""), "hex");
}

/** AppendMessage's reply to whatever stands in `requestId`. */
export function appendReply(requestId: string, sequenceNumber = 0): Uint8Array {
  return encodeAppendMessageResponse({ ...success(requestId), sequenceNumber });
}

const webSocketHeaders = (port: number): Record<string, string> => ({
  Host: `127.0.0.1:${port}`,
  Connection: "Upgrade",
  Upgrade: "websocket",
  "Sec-WebSocket-Version": "13",
  "Sec-WebSocket-Key": randomBytes(16).toString("base64"),
  "Sec-WebSocket-Protocol": "millrace.v1",
});

/** The text of an upgrade request; a header of `more` that is undefined is left out. */
export function upgradeRequest(
  port: number,
  more: Record<string, string | undefined> = {},
  target = "/v1/ws",
): string {
  const headers = Object.entries({ ...webSocketHeaders(port), ...more })
    .filter(([, value]) => value !== undefined)
    .map(([name, value]) => `${name}: ${String(value)}\r\n`);
  return `GET ${target} HTTP/1.1\r\n${headers.join("")}\r\n`;
}

/** A raw connection after its 101. */
export async function openRawWebSocket(t: TestContext, port: number): Promise<RawClient> {
  const client = new RawClient(t, port);
  client.write(upgradeRequest(port));
  const head: Buffer[] = [];
  while (!Buffer.concat(head).toString("latin1").endsWith("\r\n\r\n")) head.push(await client.take(1));
  assert.match(Buffer.concat(head).toString("latin1"), /^HTTP\/1\.1 101 /);
  return client;
}

/** One WebSocket frame of a client, masked with zeros unless told otherwise; `announced` overrides the length. */
export function webSocketFrame(
  opcode: number,
  payload: Uint8Array,
  options: { isFinal?: boolean; isMasked?: boolean; announced?: number } = {},
): Buffer {
  const { isFinal = true, isMasked = true, announced = payload.length } = options;
  const mask = isMasked ? 0x80 : 0;
  const head = Buffer.alloc(announced < 126 ? 2 : announced < 65_536 ? 4 : 10);
  head[0] = (isFinal ? 0x80 : 0) | opcode;
  if (announced < 126) head[1] = mask | announced;
  else if (announced < 65_536) {
    head[1] = mask | 126;
    head.writeUInt16BE(announced, 2);
  } else {
    head[1] = mask | 127;
    head.writeBigUInt64BE(BigInt(announced), 2);
  }
  return Buffer.concat([head, Buffer.alloc(isMasked ? 4 : 0), payload]);
}

/** The close code of the first close frame in a server's bytes, after whatever frames stand before it. */
export function closeCode(bytes: Buffer): number | undefined {
  let at = 0;
  while (at + 2 <= bytes.length) {
    const length = bytes[at + 1]!;
    if (length > 125) return undefined;
    if ((bytes[at]! & 0x0f) === 8) return bytes.readUInt16BE(at + 2);
    at += 2 + length;
  }
  return undefined;
}
