import assert from "node:assert/strict";
import { MillraceError } from "../../src/core/errors.ts";
import { FRAME_BYTES_MAX_PROTOCOL, OVERSIZE_PREFIX_BYTES } from "../../src/core/limits.ts";
import { type AppendMessage, encodeAppendMessage } from "../../src/wire/append-message.ts";
import { CborReader } from "../../src/wire/cbor-reader.ts";
import { type Connect, encodeConnect } from "../../src/wire/connect.ts";
import { encodeCreateMessageStream } from "../../src/wire/create-message-stream.ts";
import type { DefinitionRequest } from "../../src/wire/definition-request.ts";
import { encodeDeleteMessageStream } from "../../src/wire/delete-message-stream.ts";
import { encodeDescribeMessageStream } from "../../src/wire/describe-message-stream.ts";
import { FRAME_HEADER_BYTES, FrameDecoder, prefixFrame } from "../../src/wire/frame-decoder.ts";
import { encodeListStreams, type ListStreams } from "../../src/wire/list-streams.ts";
import { Operation } from "../../src/wire/operation.ts";
import { encodeReadMessages, type ReadMessages } from "../../src/wire/read-messages.ts";
import { findRequestId, type NamedRequest } from "../../src/wire/reply.ts";
import { decodeUnknownOperationError } from "../../src/wire/unknown-operation.ts";
import { encodeUpdateMessageStream } from "../../src/wire/update-message-stream.ts";
import { goldenFrames, officialDecoders } from "../support/golden-frames.ts";
import { type FuzzTarget, plainAllocation } from "./fuzz-target.ts";

const CBOR_SOURCES = ["src/wire/cbor-reader.js", "src/wire/field-rules.js", "src/wire/text.js"];
const REQUEST_SOURCES = [
  ...CBOR_SOURCES,
  "src/wire/reply.js",
  "src/wire/connect.js",
  "src/wire/append-message.js",
  "src/wire/definition-request.js",
  "src/wire/list-streams.js",
  "src/wire/read-messages.js",
  "src/wire/stream-definition-codec.js",
];

/** Writes a request again from what was read of it. */
const requestEncoders: Readonly<Record<number, (request: never) => Uint8Array>> = {
  [Operation.Connect]: (request: Connect) => encodeConnect(request),
  [Operation.CreateMessageStream]: (request: DefinitionRequest) => encodeCreateMessageStream(request),
  [Operation.UpdateMessageStream]: (request: DefinitionRequest) => encodeUpdateMessageStream(request),
  [Operation.DeleteMessageStream]: (request: NamedRequest) => encodeDeleteMessageStream(request),
  [Operation.DescribeMessageStream]: (request: NamedRequest) => encodeDescribeMessageStream(request),
  [Operation.AppendMessage]: (request: AppendMessage) => encodeAppendMessage(request),
  [Operation.ReadMessages]: (request: ReadMessages) => encodeReadMessages(request),
  [Operation.ListStreams]: (request: ListStreams) => encodeListStreams(request),
};

const refusals = new Set(["MALFORMED_CBOR", "MALFORMED_FRAME", "INVALID_REQUEST", "FRAME_TOO_LARGE"]);

/** What `decode` gives, or undefined where it refuses the input as it may. */
export function accepted<T>(decode: () => T): T | undefined {
  try {
    return decode();
  } catch (thrown) {
    if (!(thrown instanceof MillraceError) || !refusals.has(thrown.code)) throw thrown;
    assert.ok(thrown.message.length < 1000, "an error text of bounded length");
    return undefined;
  }
}

/** A payload is a view of whatever array its frame was. */
function plain(value: unknown): unknown {
  const payload = (value as { readonly payload?: Uint8Array }).payload;
  return payload === undefined ? value : { ...(value as object), payload: Buffer.from(payload) };
}

/** Every form of the dialect: numbers of each width, indefinite and nested values, and what is refused. */
const shortValues = [
  "18641903e81a000f42401b0020000000000000",
  "1903e8",
  "3a000f4240",
  "1bffffffffffffffff",
  "f97e00",
  "fa47c35000",
  "fb3ff199999999999a",
  "9f01820203ff",
  "bf61610161629f02ffff",
  "7f6161626262ff",
  "5f4101ff",
  "c249010000000000000000",
  "a2616101616102",
  "818181818181f6",
];

/** The value of any shape, walked over with every check. */
const cborTarget: FuzzTarget = {
  name: "cbor",
  sources: CBOR_SOURCES,
  inputBytesMax: 512,
  inputsPerCount: 64,
  allocatedBytesMax: plainAllocation,
  seeds: () => [
    ...goldenFrames().map(({ frame }) => frame.subarray(1)),
    ...shortValues.map((hex) => Buffer.from(hex, "hex")),
  ],
  run(input) {
    accepted(() => {
      const reader = new CborReader(input);
      reader.skip();
      reader.finish();
    });
  },
};

/** Every operation of the protocol, both ways. What is taken says the same when it is written and read again. */
const operationTarget: FuzzTarget = {
  name: "operations",
  sources: REQUEST_SOURCES,
  inputBytesMax: 1024,
  inputsPerCount: 64,
  allocatedBytesMax: plainAllocation,
  seeds: () => goldenFrames().map(({ frame }) => frame),
  run(input) {
    const operation = input[0];
    findRequestId(input);
    if (operation === undefined) return;
    const decode = officialDecoders[operation] ?? decodeUnknownOperationError;
    const value = accepted(() => decode(input));
    const encode = requestEncoders[operation];
    if (value === undefined || encode === undefined) return;
    assert.deepEqual(plain(decode(encode(value as never))), plain(value));
  },
};

const FRAME_BYTES_MAX = 300;
const CUT_BYTES_MAX = 40;

/** What a byte stream holds, as the drawing of a frame has it. */
function expectedFrames(bytes: Buffer): string[] {
  const events: string[] = [];
  let at = 0;
  while (bytes.length - at >= FRAME_HEADER_BYTES) {
    const length = bytes.readInt32BE(at);
    if (length < 2 || length > FRAME_BYTES_MAX_PROTOCOL) return [...events, "refused"];
    const isOversize = length > FRAME_BYTES_MAX;
    const wantedBytes = isOversize ? Math.min(length, OVERSIZE_PREFIX_BYTES) : length;
    const start = at + FRAME_HEADER_BYTES;
    if (bytes.length - start < wantedBytes) break;
    const hex = bytes.toString("hex", start, start + wantedBytes);
    events.push(isOversize ? `oversize ${length} ${hex}` : hex);
    at = start + length;
  }
  return events;
}

function decodedFrames(bytes: Uint8Array, cutAt: (index: number) => number): string[] {
  const events: string[] = [];
  const decoder = new FrameDecoder({ frameBytesMax: FRAME_BYTES_MAX });
  try {
    for (let at = 0, index = 0; at < bytes.length; index++) {
      const end = Math.min(bytes.length, at + cutAt(index));
      decoder.push(
        bytes.subarray(at, end),
        (frame) => events.push(Buffer.from(frame).toString("hex")),
        ({ frameBytes, prefix }) =>
          events.push(`oversize ${frameBytes} ${Buffer.from(prefix).toString("hex")}`),
      );
      at = end;
    }
  } catch (thrown) {
    if (!(thrown instanceof MillraceError)) throw thrown;
    events.push("refused");
  }
  return events;
}

/** A stream of frames gives the same whole, byte by byte, and cut anywhere. */
const frameTarget: FuzzTarget = {
  name: "frames",
  sources: ["src/wire/frame-decoder.js"],
  inputBytesMax: 6000,
  inputsPerCount: 64,
  allocatedBytesMax: (input) => 3 * plainAllocation(input),
  seeds: () => {
    const frames = goldenFrames().slice(0, 12);
    const together = Buffer.concat(frames.map(({ wire }) => wire));
    const oversize = prefixFrame(Buffer.alloc(OVERSIZE_PREFIX_BYTES + 400, 4));
    return [...frames.map(({ wire }) => wire), together, Buffer.concat([oversize, frames[0]!.wire])];
  },
  run(input) {
    const expected = expectedFrames(Buffer.from(input));
    assert.deepEqual(
      decodedFrames(input, () => Infinity),
      expected,
      "whole",
    );
    const cutAt = (index: number): number => 1 + (((input[index] ?? 0) * 7 + index) % CUT_BYTES_MAX);
    assert.deepEqual(decodedFrames(input, cutAt), expected, "cut");
  },
};

export const wireTargets: readonly FuzzTarget[] = [cborTarget, operationTarget, frameTarget];
