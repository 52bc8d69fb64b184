import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { decode } from "cborg";
import { type CborHabit, encodeHabitually, type HabitValue } from "./habit-cbor.ts";
import { Inbox } from "./inbox.ts";
import type { CleanUp } from "./program.ts";

/** How an official client behaves on the wire (PROTOCOL 1.5 to 1.7, 2.1). */
export interface ClientHabits extends CborHabit {
  readonly name: string;
  readonly protocolVersion: "1.0.0" | "1.1.0";
  /** The keys of Connect beside `requestId` and `protocolVersion`. */
  readonly connect: { readonly [key: string]: HabitValue };
  readonly requestId: () => string;
  /** A frame as the writes that it goes out in. */
  readonly cut: (frame: Buffer) => readonly Buffer[];
}

const HEADER_BYTES = 5;
const SINGLE_BYTES_MAX = 1000;
const headerAndPayload = (frame: Buffer): Buffer[] => [
  frame.subarray(0, HEADER_BYTES),
  frame.subarray(HEADER_BYTES),
];
const byteByByteHeader = (frame: Buffer): Buffer[] => [
  ...Array.from({ length: HEADER_BYTES }, (_, at) => frame.subarray(at, at + 1)),
  frame.subarray(HEADER_BYTES),
];
/** As far as there is anything but payload. */
const everyByte = (frame: Buffer): Buffer[] => [
  ...Array.from({ length: Math.min(frame.length, SINGLE_BYTES_MAX) }, (_, at) => frame.subarray(at, at + 1)),
  frame.subarray(SINGLE_BYTES_MAX),
];

const definite = { maps: "definite", arrays: "definite" } as const;
const of10 = { protocolVersion: "1.0.0", connect: { sdkVersion: "1.0.0" } } as const;
const of11 = {
  protocolVersion: "1.1.0",
  connect: { otherSupportedProtocolVersions: ["1.0.0"], sdkVersion: "1.1.0" },
} as const;
/** Jackson's size of a first chunk. */
const JACKSON_CHUNK_BYTES = 3996;
const java = {
  maps: "indefinite",
  textChunkBytes: JACKSON_CHUNK_BYTES,
  requestId: randomUUID,
  cut: byteByByteHeader,
} as const;
const javascript = { ...definite, integers: "float", requestId: randomUUID, cut: headerAndPayload } as const;
const python = { ...definite, integers: "shortest", requestId: randomUUID } as const;

/** The clients that there are, of both versions of the protocol; Java leaves its token empty where there is none. */
export const clientHabits: readonly ClientHabits[] = [
  { name: "js-core-1.6.0", ...of10, ...javascript },
  { name: "js-core-1.7.0", ...of11, ...javascript },
  { name: "js-sdk-1.1.0", ...of11, ...javascript, requestId: () => " " },
  { name: "py-core-1.5.0", ...of10, ...python, cut: (frame) => [frame] },
  { name: "py-sdk-1.1.1", ...of11, ...python, cut: headerAndPayload },
  { name: "py-sdk-1.1.1 by single bytes", ...of11, ...python, cut: everyByte },
  {
    name: "java-core-1.4.1",
    ...of10,
    ...java,
    arrays: "definite",
    integers: "shortest",
    connect: { ...of10.connect, authToken: "" },
  },
  {
    name: "java-sdk-1.1.0",
    ...of11,
    ...java,
    arrays: "definite",
    integers: "shortest",
    connect: { ...of11.connect, authToken: "" },
  },
  {
    name: "java-sdk-1.1.0 slim",
    ...of11,
    ...java,
    arrays: "indefinite",
    integers: "wide",
    connect: { ...of11.connect, authToken: "" },
  },
];

export interface HabitReply {
  readonly operation: number;
  readonly fields: Readonly<Record<string, unknown>>;
}

/** One connection of a client with habits. It reads as the Python client does: a frame's header comes whole or is misread. */
export class HabitClient {
  readonly habits: ClientHabits;
  readonly socket: Socket;
  /** Every reply that came; checked against what a client of this version survives. */
  readonly replies = new Inbox<HabitReply>();
  replyCount = 0;
  /** "end" is the engine's FIN, anything else the error that came instead. */
  readonly ending: Promise<string>;
  #received = Buffer.alloc(0);
  #connectByte: number | undefined;
  #fail: (error: unknown) => void = () => undefined;
  readonly #failed = new Promise<never>((_resolve, reject) => (this.#fail = reject));
  #writing: Promise<void> = Promise.resolve();

  private constructor(t: CleanUp, habits: ClientHabits, port: number) {
    this.habits = habits;
    this.#failed.catch(() => undefined);
    this.socket = connect({ port, host: "127.0.0.1", noDelay: true, allowHalfOpen: true });
    t.after(() => this.socket.destroy());
    this.ending = new Promise((resolve) => {
      this.socket.once("end", () => {
        resolve("end");
        if (!this.socket.writableEnded)
          this.#fail(new Error("the engine ended the connection without a reply"));
      });
      this.socket.once("error", (error) => resolve(error.message));
    });
    this.socket.once("close", () => this.#fail(new Error("the engine ended the connection without a reply")));
    this.socket.on("data", (chunk: Buffer) => {
      try {
        this.#read(chunk);
      } catch (error) {
        this.#fail(error);
        this.socket.destroy();
      }
    });
  }

  /** Connects, and fails unless the engine takes the client and its version. */
  static async open(t: CleanUp, habits: ClientHabits, port: number): Promise<HabitClient> {
    const client = new HabitClient(t, habits, port);
    await once(client.socket, "connect");
    client.writeParts([Buffer.of(1)]);
    const { protocolVersion } = habits;
    const requestId = client.send(1, { protocolVersion, ...habits.connect });
    const { operation, fields } = await client.take();
    assert.deepEqual(
      [client.#connectByte, operation, fields["status"], fields["requestId"], fields["protocolVersion"]],
      [1, 6, 0, requestId, protocolVersion],
    );
    return client;
  }

  /** Sends a request and returns its id. */
  send(operation: number, fields: { readonly [key: string]: HabitValue } = {}): string {
    const requestId = this.habits.requestId();
    this.sendBody(operation, encodeHabitually({ requestId, ...fields }, this.habits));
    return requestId;
  }

  /** Sends a frame with any bytes as its body. */
  sendBody(operation: number, body: Uint8Array): void {
    const frame = Buffer.alloc(HEADER_BYTES + body.length);
    frame.writeInt32BE(1 + body.length);
    frame.writeInt8(operation, 4);
    frame.set(body, HEADER_BYTES);
    this.writeParts(this.habits.cut(frame));
  }

  /** Each part is a write, and with TCP_NODELAY a segment, of its own. */
  writeParts(parts: readonly Buffer[]): void {
    for (const part of parts) {
      this.#writing = this.#writing.then(
        async () => new Promise((resolve) => this.socket.write(part, () => resolve())),
      );
    }
  }

  /** What was sent has left; then our FIN, as the JavaScript client's `close()` does. */
  async halfClose(): Promise<void> {
    await this.#writing;
    this.socket.end();
  }

  async take(): Promise<HabitReply> {
    return Promise.race([this.replies.take(), this.#failed]);
  }

  /** Sends a request and waits for the reply, which must be its own. */
  async ask(operation: number, fields: { readonly [key: string]: HabitValue } = {}): Promise<HabitReply> {
    const requestId = this.send(operation, fields);
    const reply = await this.take();
    assert.equal(reply.fields["requestId"], requestId);
    return reply;
  }

  #read(chunk: Buffer): void {
    let at = 0;
    if (this.#connectByte === undefined) {
      this.#connectByte = chunk[0];
      at = 1;
    }
    this.#received = Buffer.concat([this.#received, chunk.subarray(at)]);
    while (this.#received.length > 0) {
      // PROTOCOL 9.1, rule 1: Python takes what it gets of a header for the whole. A read of many replies may end anywhere.
      if (this.#received.length < HEADER_BYTES && chunk.length < READ_BYTES_MAX) {
        assert.fail(`a header in pieces: ${this.#received.toString("hex")}`);
      }
      if (this.#received.length < HEADER_BYTES) return;
      const length = this.#received.readInt32BE();
      assert.ok(length >= 2, `PROTOCOL 1.3: a frame of length ${length}`);
      if (this.#received.length < 4 + length) return;
      const frame = this.#received.subarray(4, 4 + length);
      this.#received = this.#received.subarray(4 + length);
      this.replyCount += 1;
      this.replies.put(checkedReply(frame, this.habits.protocolVersion));
    }
  }
}

/** What Node.js reads at most at once: a piece of this size ends where it ends. */
const READ_BYTES_MAX = 64 * 1024;
const REPLIES_1_0: readonly number[] = [6, 7, 8, 9, 10, 12, 14];
const REPLIES_1_1: readonly number[] = [...REPLIES_1_0, 16, 17];
const STATUS_MAX = { "1.0.0": 15, "1.1.0": 18 } as const;

/** PROTOCOL 9.1, rule 6: fails for what would end the reader of one client or another. */
function checkedReply(frame: Buffer, version: "1.0.0" | "1.1.0"): HabitReply {
  const operation = frame.readInt8();
  const known = version === "1.0.0" ? REPLIES_1_0 : REPLIES_1_1;
  assert.ok(known.includes(operation), `a client of ${version} does not know operation ${operation}`);
  const fields = decode(frame.subarray(1), { allowUndefined: false, rejectDuplicateMapKeys: true }) as Record<
    string,
    unknown
  >;
  assert.equal(typeof fields["requestId"], "string");
  assert.equal(typeof fields["errorMessage"], "string");
  const status = fields["status"];
  assert.ok(
    Number.isInteger(status) && Number(status) >= 0 && Number(status) <= STATUS_MAX[version],
    `status ${String(status)}`,
  );
  checkValue(fields, operation === 10 && status === 0 ? "messages" : "");
  return { operation, fields };
}

/** No nulls, no integers that JavaScript cannot hold, payloads that are bytes and not empty. */
function checkValue(value: unknown, key: string): void {
  assert.notEqual(value, null, `${key} is null`);
  assert.notEqual(typeof value, "bigint", `${key} is ${String(value)}`);
  if (key === "payload") assert.ok(value instanceof Uint8Array && value.length > 0, "a payload");
  else if (typeof value === "object" && !(value instanceof Uint8Array)) {
    for (const [name, inner] of Object.entries(value as object)) checkValue(inner, name);
  }
}
