import assert from "node:assert/strict";
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { describe, it, type TestContext } from "node:test";
import { FRAME_BYTES_MAX_PROTOCOL } from "../../src/core/limits.ts";
import { decodeConnectResponse } from "../../src/wire/connect.ts";
import { FrameDecoder } from "../../src/wire/frame-decoder.ts";
import { Operation } from "../../src/wire/operation.ts";
import { type Reply, findRequestId } from "../../src/wire/reply.ts";
import { EngineProcess } from "../support/engine-process.ts";
import { goldenBytes, officialDecoders } from "../support/golden-frames.ts";
import { Inbox } from "../support/inbox.ts";

const timeout = 60_000;

/** What each captured request must be answered with, in the order in which the clients sent them. */
interface Step {
  readonly step: string;
  readonly reply: number;
  readonly status: number;
  readonly text?: RegExp;
  readonly check?: (reply: Record<string, unknown>) => void;
}

const missing = { status: 5, text: /"nope" does not exist/ };
const steps: readonly Step[] = [
  { step: "create-kinesis-ita", reply: Operation.CreateMessageStreamResponse, status: 0 },
  { step: "create-minimal", reply: Operation.CreateMessageStreamResponse, status: 0 },
  {
    step: "append-text",
    reply: Operation.AppendMessageResponse,
    status: 0,
    check: (reply) => assert.equal(reply["sequenceNumber"], 0),
  },
  {
    step: "append-binary",
    reply: Operation.AppendMessageResponse,
    status: 0,
    check: (reply) => assert.equal(reply["sequenceNumber"], 1),
  },
  { step: "read-default", reply: Operation.ReadMessagesResponse, status: 0, check: hasFirstMessage },
  { step: "read-options", reply: Operation.ReadMessagesResponse, status: 0, check: hasBothMessages },
  {
    step: "read-min50",
    reply: Operation.ReadMessagesResponse,
    status: 13,
    text: /2 messages, at least 50 asked for/,
  },
  {
    step: "list",
    reply: Operation.ListStreamsResponse,
    status: 0,
    check: (reply) => assert.deepEqual(reply["streams"], ["SensorData 1.a-b_c,", "Min"]),
  },
  { step: "describe", reply: Operation.DescribeMessageStreamResponse, status: 0, check: isDescribed },
  { step: "update", reply: Operation.UpdateMessageStreamResponse, status: 0 },
  { step: "create-http-sitewise-s3", reply: Operation.CreateMessageStreamResponse, status: 0 },
  { step: "describe-allexports", reply: Operation.DescribeMessageStreamResponse, status: 0 },
  { step: "append-s3task", reply: Operation.AppendMessageResponse, status: 0 },
  { step: "append-sitewise", reply: Operation.AppendMessageResponse, status: 0 },
  { step: "delete", reply: Operation.DeleteMessageStreamResponse, status: 0 },
  { step: "delete-missing", reply: Operation.DeleteMessageStreamResponse, ...missing },
  { step: "describe-missing", reply: Operation.DescribeMessageStreamResponse, ...missing },
  { step: "read-missing", reply: Operation.ReadMessagesResponse, ...missing },
];

/** Without options a read asks for one message. */
function hasFirstMessage(reply: Record<string, unknown>): void {
  assert.deepEqual(messagesOf(reply), [[0, "hello world"]]);
}

function hasBothMessages(reply: Record<string, unknown>): void {
  assert.deepEqual(messagesOf(reply), [
    [0, "hello world"],
    [1, "\u0000\u0001\u0002\u00ff"],
  ]);
}

function messagesOf(reply: Record<string, unknown>): [number, string][] {
  const messages = reply["messages"] as { sequenceNumber: number; payload: Uint8Array }[];
  return messages.map(({ sequenceNumber, payload }) => [
    sequenceNumber,
    Buffer.from(payload).toString("latin1"),
  ]);
}

function isDescribed(reply: Record<string, unknown>): void {
  const { definition, storageStatus, exportStatuses } = reply["messageStreamInfo"] as {
    definition: Record<string, unknown>;
    storageStatus: Record<string, number>;
    exportStatuses: unknown[];
  };
  assert.equal(definition["name"], "SensorData 1.a-b_c,");
  assert.equal(definition["timeToLiveMillis"], 3_600_000);
  assert.deepEqual(storageStatus, { oldestSequenceNumber: 0, newestSequenceNumber: 1, totalBytes: 15 + 48 });
  assert.ok(Array.isArray(exportStatuses));
}

/** Captured from the Java and Python clients only. */
const withoutJs = new Set(["append-s3task", "append-sitewise"]);

/** How a client cuts its requests into writes (one element, one segment). */
type Cut = (frame: Uint8Array) => Uint8Array[];
const whole: Cut = (frame) => [frame];
/** Java: each byte of the header by itself, then the payload. */
const byteByByteHeader: Cut = (frame) => [
  ...Array.from({ length: 5 }, (_, at) => frame.subarray(at, at + 1)),
  frame.subarray(5),
];
/** Node.js: header and payload. */
const headerAndPayload: Cut = (frame) => [frame.subarray(0, 5), frame.subarray(5)];
/** Nobody does; anybody's network may. */
const everyByte: Cut = (frame) => Array.from(frame, (_, at) => frame.subarray(at, at + 1));

const clients: readonly { name: string; cut: Cut; cutName: string }[] = [
  { name: "java-sdk-1.1.0", cut: byteByByteHeader, cutName: "byte by byte through each header" },
  { name: "py-sdk-1.1.1", cut: whole, cutName: "whole" },
  { name: "js-core-1.7.0", cut: headerAndPayload, cutName: "header and payload apart" },
  { name: "js-sdk-1.1.0", cut: headerAndPayload, cutName: "header and payload apart" },
  { name: "py-sdk-1.1.1", cut: everyByte, cutName: "in segments of one byte" },
];

/** What the engine sends, as it comes: the connect byte first, then whole frames. */
class ReplyReader {
  readonly frames = new Inbox<Buffer>();
  readonly #decoder = new FrameDecoder({ frameBytesMax: FRAME_BYTES_MAX_PROTOCOL });
  connectByte: number | undefined;
  /** Segments that ended within a frame: the Python client takes a cut header for a whole one. */
  cutCount = 0;

  constructor(socket: Socket) {
    socket.on("data", (data) => {
      const start = this.connectByte === undefined ? 1 : 0;
      this.connectByte ??= data[0];
      const onFrame = (frame: Uint8Array): void => this.frames.put(Buffer.from(frame));
      this.#decoder.push(data.subarray(start), onFrame, () => undefined);
      if (this.#decoder.pendingBytes > 0) this.cutCount += 1;
    });
  }
}

async function openSocket(t: TestContext, port: number): Promise<Socket> {
  const socket = connect({ port, host: "127.0.0.1", noDelay: true });
  t.after(() => socket.destroy());
  await once(socket, "connect");
  return socket;
}

async function write(socket: Socket, parts: readonly Uint8Array[]): Promise<void> {
  for (const part of parts) {
    await new Promise<void>((resolve) => socket.write(part, () => resolve()));
  }
}

describe("the requests that official clients sent", () => {
  for (const { name, cut, cutName } of clients) {
    it(`are answered as ${name} needs it, ${cutName}`, { timeout }, async (t) => {
      const engine = await EngineProcess.start(t, { env: { STREAM_MANAGER_AUTHENTICATE_CLIENT: "false" } });
      const socket = await openSocket(t, engine.port);
      const replies = new ReplyReader(socket);
      await write(socket, [Buffer.of(1)]);
      const connectFrame = goldenBytes(`${name}.connect`);
      await write(socket, cut(connectFrame));
      const connected = decodeConnectResponse(await replies.frames.take());
      assert.equal(replies.connectByte, 1);
      assert.equal(connected.status, 0);
      assert.equal(connected.protocolVersion, "1.1.0");
      assert.equal(connected.requestId, findRequestId(connectFrame.subarray(4)));

      for (const { step, reply, status, text, check } of steps) {
        if (name.startsWith("js-") && withoutJs.has(step)) continue;
        const request = goldenBytes(`${name}.${step}`);
        await write(socket, cut(request));
        const frame = await replies.frames.take();
        assert.equal(frame[0], reply, step);
        const decoded = officialDecoders[reply]!(frame) as Reply;
        assert.equal(decoded.status, status, `${step}: ${decoded.errorMessage}`);
        assert.equal(decoded.requestId, findRequestId(request.subarray(4)), step);
        if (text !== undefined) assert.match(decoded.errorMessage, text);
        check?.(decoded as unknown as Record<string, unknown>);
      }
      assert.equal(replies.frames.size, 0, "one reply for each request");
      assert.equal(replies.cutCount, 0, "each reply is one write");

      // The Node.js clients send FIN and wait for ours.
      const ended = once(socket, "end");
      socket.end();
      await ended;
    });
  }

  it(
    "are answered in order when they come in one write, also with one request id for all",
    { timeout },
    async (t) => {
      const engine = await EngineProcess.start(t, { env: { STREAM_MANAGER_AUTHENTICATE_CLIENT: "false" } });
      const socket = await openSocket(t, engine.port);
      const replies = new ReplyReader(socket);
      const names = ["create-kinesis-ita", "append-text", "append-binary", "append-text"];
      await write(socket, [goldenBytes("js-sdk-1.1.0.connect-whole-stream")]);
      await replies.frames.take();
      await write(socket, [goldenBytes("js-sdk-1.1.0.create-kinesis-ita")]);
      await replies.frames.take();
      await write(socket, [Buffer.concat(names.slice(1).map((step) => goldenBytes(`js-sdk-1.1.0.${step}`)))]);
      for (const expected of [0, 1, 2]) {
        const frame = await replies.frames.take();
        const reply = officialDecoders[Operation.AppendMessageResponse]!(frame) as Reply & {
          sequenceNumber: number;
        };
        assert.deepEqual([reply.requestId, reply.status, reply.sequenceNumber], [" ", 0, expected]);
      }
    },
  );

  for (const client of ["java-sdk-1.1.0", "js-core-1.7.0", "py-sdk-1.1.1"]) {
    it(`of ${client} with another engine's token are refused with 2 and FIN`, { timeout }, async (t) => {
      const engine = await EngineProcess.start(t);
      const socket = await openSocket(t, engine.port);
      const replies = new ReplyReader(socket);
      const ended = once(socket, "end");
      await write(socket, [goldenBytes(`auth-${client}.connect-whole-stream`)]);
      const reply = decodeConnectResponse(await replies.frames.take());
      assert.deepEqual([replies.connectByte, reply.status], [1, 2]);
      await ended;
    });
  }
});
