// Attacks a port until it is told to stop, in a process of its own: `node attack-driver.js`, commands and counts over IPC.
import { connect, type Socket } from "node:net";
import { setPriority } from "node:os";
import { setTimeout as after } from "node:timers/promises";
import { WebSocket } from "ws";
import { SUBPROTOCOL, TOKEN_SUBPROTOCOL_PREFIX } from "../../src/client/subprotocol.ts";
import { encodeAppendMessage } from "../../src/wire/append-message.ts";
import { encodeConnect } from "../../src/wire/connect.ts";
import { prefixFrame } from "../../src/wire/frame-decoder.ts";
import { decodeOpenStreamResult, encodeOpenStream } from "../../src/wire/open-stream-layout.ts";
import { Operation } from "../../src/wire/operation.ts";
import { encodeReadMessages } from "../../src/wire/read-messages.ts";
import { encodeSubscribe } from "../../src/wire/subscribe-layout.ts";

export type AttackKind = "origin" | "no token" | "no right" | "oversize" | "attempts" | "never reads";

export interface AttackOrder {
  readonly kind: AttackKind;
  readonly port: number;
  /** A token that may read every stream, and nothing else. */
  readonly token: string;
  readonly stream: string;
}

/** What the driver tells: that it has begun, and at the end how often it tried and what it was answered. */
export type AttackNews =
  { readonly kind: "begun" } | { readonly kind: "ended"; readonly tries: number; readonly refusals: number };

const MIB = 1024 * 1024;
/** Another machine would attack with processors of its own: here it gets what the good ones leave. */
const PRIORITY_LEAST = 19;
const LOOPS = {
  origin: 16,
  "no token": 64,
  "no right": 2,
  oversize: 2,
  attempts: 100,
  "never reads": 4,
} as const;
const REQUESTS_AT_ONCE = 64;
const OVERSIZE_BYTES = 64 * MIB;
const SUBSCRIPTIONS = 16;
const READS = 64;

const filler = Buffer.alloc(MIB, 1);

class Attack {
  readonly #order: AttackOrder;
  readonly #sockets = new Set<Socket>();
  #isOver = false;
  #onTry: () => void = () => undefined;
  tries = 0;
  refusals = 0;
  readonly begun: Promise<void>;
  readonly ended: Promise<unknown>;

  constructor(order: AttackOrder) {
    this.#order = order;
    this.begun = new Promise((resolve) => (this.#onTry = resolve));
    this.ended = Promise.all(Array.from({ length: LOOPS[order.kind] }, async () => this.#loop()));
  }

  stop(): void {
    this.#isOver = true;
    for (const socket of this.#sockets) socket.destroy();
  }

  async #loop(): Promise<void> {
    while (!this.#isOver) {
      switch (this.#order.kind) {
        case "origin":
          await this.#say(this.#upgrade("Origin: http://evil.example\r\n"), /^HTTP\/1\.1 403/);
          break;
        case "no token":
          if (this.tries % 2 === 0) await this.#say(this.#upgrade(""), /^HTTP\/1\.1 401/);
          else await this.#say(Buffer.concat([Buffer.of(1), prefixFrame(hello("a guess"))]), /^\x01/);
          break;
        case "attempts":
          await this.#say(undefined, /./);
          break;
        case "oversize":
          await this.#oversize();
          break;
        case "no right":
          await this.#withoutRight();
          break;
        case "never reads":
          await this.#neverRead();
      }
    }
  }

  #note(wasRefused: boolean): void {
    this.tries += 1;
    if (wasRefused) this.refusals += 1;
    this.#onTry();
  }

  #upgrade(header: string): string {
    const lines = [
      "GET /v1/ws HTTP/1.1",
      `Host: 127.0.0.1:${this.#order.port}`,
      "Connection: Upgrade",
      "Upgrade: websocket",
      "Sec-WebSocket-Version: 13",
      "Sec-WebSocket-Key: MTIzNDU2Nzg5MDEyMzQ1Ng==",
      `Sec-WebSocket-Protocol: ${SUBPROTOCOL}`,
    ];
    return `${lines.join("\r\n")}\r\n${header}\r\n`;
  }

  #connect(): Socket {
    const socket = connect(this.#order.port, "127.0.0.1");
    this.#sockets.add(socket);
    socket.on("error", () => undefined);
    socket.on("close", () => this.#sockets.delete(socket));
    return socket;
  }

  /** A connection that says one thing and goes with the answer; without words it goes at once. */
  async #say(words: Uint8Array | string | undefined, refusal: RegExp): Promise<void> {
    const socket = this.#connect();
    let answer = "";
    socket.on("data", (bytes) => {
      answer += bytes.toString("latin1");
      socket.end();
    });
    socket.on("connect", () => {
      if (words === undefined) socket.destroy();
      else socket.write(words);
    });
    await new Promise((resolve) => socket.once("close", resolve));
    this.#note(refusal.test(answer));
    // Closed without a word, because they come too quickly: a program that hurries no further would see nothing else.
    if (answer === "") await after(1);
  }

  /** A known client whose frames are larger than any may be, one after the other on one connection. */
  async #oversize(): Promise<void> {
    const socket = this.#connect();
    socket.on("data", () => {
      this.#note(true);
    });
    const closed = new Promise((resolve) => socket.once("close", resolve));
    socket.write(Buffer.concat([Buffer.of(1), prefixFrame(hello(this.#order.token))]));
    const head = Buffer.alloc(4);
    head.writeUInt32BE(OVERSIZE_BYTES);
    const begin = encodeAppendMessage({ requestId: "large", name: this.#order.stream, payload: filler });
    while (!this.#isOver && !socket.destroyed) {
      socket.write(head);
      socket.write(begin);
      for (let left = OVERSIZE_BYTES - begin.length; left > 0; left -= filler.length) {
        const piece = filler.subarray(0, Math.min(left, filler.length));
        // Called with an error where the connection ends first.
        await new Promise((resolve) => socket.write(piece, resolve));
      }
    }
    socket.destroy();
    await closed;
  }

  async #open(): Promise<WebSocket | undefined> {
    const { port, token } = this.#order;
    const protocols = [SUBPROTOCOL, TOKEN_SUBPROTOCOL_PREFIX + token];
    const webSocket = new WebSocket(`ws://127.0.0.1:${port}/v1/ws`, protocols, { perMessageDeflate: false });
    webSocket.on("upgrade", ({ socket }) => this.#sockets.add(socket));
    const isOpen = await new Promise<boolean>((resolve) => {
      webSocket.on("open", () => resolve(true));
      webSocket.on("error", () => resolve(false));
    });
    return isOpen ? webSocket : undefined;
  }

  /** A known client that appends where it may only read, without waiting. */
  async #withoutRight(): Promise<void> {
    const webSocket = await this.#open();
    if (webSocket === undefined) return;
    const name = this.#order.stream;
    const frame = encodeAppendMessage({ requestId: "append", name, payload: filler.subarray(0, 100) });
    webSocket.on("message", () => {
      this.#note(true);
      if (!this.#isOver) webSocket.send(frame);
    });
    for (let count = 0; count < REQUESTS_AT_ONCE; count++) webSocket.send(frame);
    await new Promise((resolve) => webSocket.once("close", resolve));
  }

  /** A known client that asks for all there is, in every way, and takes nothing of it. */
  async #neverRead(): Promise<void> {
    const webSocket = await this.#open();
    if (webSocket === undefined) return;
    const opened = new Promise<Buffer>((resolve) =>
      webSocket.once("message", (data) => resolve(data as Buffer)),
    );
    webSocket.send(encodeOpenStream({ requestId: 1, name: this.#order.stream }));
    const reply = await opened;
    if (reply[0] !== Operation.OpenStreamResult) throw new Error(`operation ${reply[0] ?? "none"}`);
    const { handle } = decodeOpenStreamResult(reply);
    webSocket.pause();
    for (let subscriptionId = 1; subscriptionId <= SUBSCRIPTIONS; subscriptionId++) {
      webSocket.send(encodeSubscribe({ handle, subscriptionId, fromSequence: 0, creditBytes: 16 * MIB }));
    }
    for (let count = 0; count < READS; count++) {
      const options = { maxMessageCount: 100_000 };
      webSocket.send(encodeReadMessages({ requestId: "read", streamName: this.#order.stream, options }));
    }
    this.#note(false);
    await new Promise((resolve) => webSocket.once("close", resolve));
  }
}

function hello(authToken: string): Uint8Array {
  return encodeConnect({
    requestId: "connect",
    protocolVersion: "1.1.0",
    otherSupportedProtocolVersions: [],
    sdkVersion: "bench",
    authToken,
  });
}

const tell = (news: AttackNews): void => {
  process.send?.(news);
};

if (process.send !== undefined) {
  setPriority(PRIORITY_LEAST);
  let attack: Attack | undefined;
  process.on("message", (order: AttackOrder | "stop") => {
    if (order !== "stop") {
      attack = new Attack(order);
      void attack.begun.then(() => tell({ kind: "begun" }));
      return;
    }
    const ending = attack;
    ending?.stop();
    void ending?.ended.then(() => {
      tell({ kind: "ended", tries: ending.tries, refusals: ending.refusals });
    });
  });
}
