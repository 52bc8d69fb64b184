import assert from "node:assert/strict";
import { checkFraming, FramingFault } from "../../src/core/message-framing.ts";
import { decodeLz4Block } from "../../src/log/lz4-frame.ts";
import {
  createAppendBatchHeader,
  encodeAppendBatch,
  readAppendBatchHeader,
  writeAppendBatchHeader,
} from "../../src/wire/append-batch-layout.ts";
import { AppendResultWriter, decodeAppendBatchResult } from "../../src/wire/append-batch-result-layout.ts";
import {
  decodeMessagesHeader,
  encodeMessages,
  forEachMessage,
  GapReason,
} from "../../src/wire/messages-layout.ts";
import {
  decodeOpenStream,
  decodeOpenStreamResult,
  encodeOpenStream,
  encodeOpenStreamResult,
} from "../../src/wire/open-stream-layout.ts";
import { Operation } from "../../src/wire/operation.ts";
import {
  decodeStreamDocumentRequest,
  decodeStreamDocumentResult,
  encodeStreamDocumentRequest,
  encodeStreamDocumentResult,
  type StreamDocumentOperation,
} from "../../src/wire/stream-document-layout.ts";
import {
  decodeCredit,
  decodeSubscribe,
  decodeSubscribeResult,
  decodeUnsubscribe,
  encodeCredit,
  encodeSubscribe,
  encodeSubscribeResult,
  encodeUnsubscribe,
} from "../../src/wire/subscribe-layout.ts";
import { type FuzzTarget, plainAllocation } from "./fuzz-target.ts";
import { accepted } from "./wire-targets.ts";

/** 300 times a letter: a run that LZ4 takes to a few bytes. */
const LZ4_OF_RUN = Buffer.from("1f610100ffffff1f5061616161" + "61", "hex");

const text = (value: string): Uint8Array => Buffer.from(value);

/** Requests of a WebSocket producer and reader, as they come from our clients. */
export function ownRequests(name: string): Uint8Array[] {
  const messages = [text("first"), text("second"), text("x".repeat(100))];
  const lz4Head = { handle: 0, requestId: 9, rawSizeBytes: 300, messageCount: 1, isLz4: true };
  const lz4 = Buffer.concat([Buffer.alloc(20), LZ4_OF_RUN]);
  writeAppendBatchHeader(lz4, lz4Head);
  const document = JSON.stringify({
    definition: { strategyOnFull: 1, maxSize: 65_536 },
    options: { freeExported: true },
  });
  const request = { requestId: 5, name };
  return [
    encodeOpenStream(request),
    encodeAppendBatch({ handle: 0, requestId: 2, messages }),
    encodeAppendBatch({ handle: 0, requestId: 3, messages, producer: { id: 77, sequence: 0 } }),
    encodeAppendBatch({ handle: 0, requestId: 4, messages, producer: { id: 77, sequence: 1 } }),
    lz4,
    encodeSubscribe({ handle: 0, subscriptionId: 1, fromSequence: 0, creditBytes: 1000 }),
    encodeCredit({ subscriptionId: 1, creditBytes: 500 }),
    encodeUnsubscribe(1),
    encodeStreamDocumentRequest(Operation.DescribeStream, { ...request, document: "" }),
    encodeStreamDocumentRequest(Operation.ConfigureStream, { ...request, document }),
    encodeStreamDocumentRequest(Operation.CreateStream, { ...request, document }),
    encodeStreamDocumentRequest(Operation.CommandExports, {
      ...request,
      document: '{"command":"retry","exporter":"e"}',
    }),
  ];
}

function ownAnswers(): Uint8Array[] {
  const results = new AppendResultWriter();
  results.addSuccess(1, 40);
  results.addFailure(2, 64, "full");
  results.addFailure(3, 70, "a gap", 8);
  const result = { requestId: 5, status: 3, errorMessage: "why", document: '{"a":1}' };
  const messageBytes = Buffer.from("0100000061020000006262", "hex");
  const runs = [
    { messageCount: 1, ingestTimeMs: 1_700_000_000_000 },
    { gapReason: GapReason.Expired, missingCount: 5 },
    { messageCount: 1, ingestTimeMs: 1_700_000_000_001 },
  ];
  return [
    results.take(),
    encodeOpenStreamResult({ requestId: 1, status: 0, handle: 3, nextSequence: 12, errorMessage: "" }),
    encodeOpenStreamResult({ requestId: 1, status: 5, handle: 0, nextSequence: 0, errorMessage: "none" }),
    encodeStreamDocumentResult(Operation.DescribeStream, result),
    encodeSubscribeResult({ subscriptionId: 1, status: 0, firstSequence: 9, errorMessage: "" }),
    encodeMessages({ subscriptionId: 1, firstSequence: 10, durableEndSequence: 12, runs, messageBytes }),
  ];
}

function checkAppendBatch(frame: Uint8Array): void {
  const header = createAppendBatchHeader();
  readAppendBatchHeader(frame, header);
  const body = frame.subarray(header.messagesAt);
  assert.ok(header.rawSizeBytes >= header.messageCount * 5, "room for the messages that are announced");
  if (header.isLz4) {
    const { raw } = decodeLz4Block(body, header.rawSizeBytes);
    assert.equal(raw.length, header.rawSizeBytes);
    checkFraming(raw, 0, raw.length, header.messageCount);
  } else {
    const fault = checkFraming(frame, header.messagesAt, frame.length, header.messageCount);
    if (fault === FramingFault.None) assert.equal(body.length, header.rawSizeBytes);
  }
  const written = Buffer.from(frame);
  const producer = { id: header.producerId, sequence: header.producerSequence };
  writeAppendBatchHeader(written, header.hasProducer ? { ...header, producer } : header);
  assert.deepEqual(written, Buffer.from(frame), "the header says what its bytes say");
}

function checkMessages(frame: Uint8Array): void {
  const header = decodeMessagesHeader(frame);
  let sequence = header.firstSequence;
  let messageCount = 0;
  forEachMessage(frame, {
    onMessage(at, _ingestTimeMs, payload) {
      assert.equal(at, sequence);
      assert.ok(payload.length > 0, "a payload of at least one byte");
      sequence += 1;
      messageCount += 1;
    },
    onGap(at, missingCount) {
      assert.equal(at, sequence);
      sequence += missingCount;
    },
  });
  assert.deepEqual([sequence, messageCount], [header.endSequence, header.messageCount]);
}

function checkResults(frame: Uint8Array): void {
  let count = 0;
  decodeAppendBatchResult(frame, (_requestId, status, _firstSequence, errorMessage) => {
    count += 1;
    if (status === 0) assert.equal(errorMessage, "");
  });
  assert.equal(count, Buffer.from(frame).readUInt16LE(2));
}

/** The bytes that are reserved may be anything; the rest must come out as it went in. */
function comesBack(frame: Uint8Array, written: Uint8Array, reserved: readonly number[]): void {
  const [before, after] = [Buffer.from(frame), Buffer.from(written)];
  for (const at of reserved) before[at] = after[at]!;
  assert.deepEqual(after, before);
}

const checks: Readonly<Record<number, (frame: Uint8Array) => void>> = {
  [Operation.OpenStream]: (frame) => comesBack(frame, encodeOpenStream(decodeOpenStream(frame)), [1, 2, 3]),
  [Operation.OpenStreamResult]: (frame) => void decodeOpenStreamResult(frame),
  [Operation.AppendBatch]: checkAppendBatch,
  [Operation.AppendBatchResult]: checkResults,
  [Operation.Subscribe]: (frame) => comesBack(frame, encodeSubscribe(decodeSubscribe(frame)), [1, 2, 3]),
  [Operation.SubscribeResult]: (frame) => void decodeSubscribeResult(frame),
  [Operation.Messages]: checkMessages,
  [Operation.Credit]: (frame) => comesBack(frame, encodeCredit(decodeCredit(frame)), [1, 2, 3]),
  [Operation.Unsubscribe]: (frame) =>
    comesBack(frame, encodeUnsubscribe(decodeUnsubscribe(frame)), [1, 2, 3]),
};
const documentRequests: readonly number[] = [
  Operation.DescribeStream,
  Operation.ConfigureStream,
  Operation.CreateStream,
  Operation.CommandExports,
];

function checkDocument(frame: Uint8Array): void {
  const operation = frame[0] as StreamDocumentOperation;
  if (!documentRequests.includes(operation)) {
    decodeStreamDocumentResult(frame);
    return;
  }
  comesBack(frame, encodeStreamDocumentRequest(operation, decodeStreamDocumentRequest(frame)), [1]);
}

/** Whether a frame is one of our own requests or answers as far as its layout goes. */
export function isOwnFrame(frame: Uint8Array): boolean {
  const check = checks[frame[0]!] ?? (documentRequests.includes(frame[0]!) ? checkDocument : undefined);
  if (check === undefined) return false;
  return accepted(() => (check(frame), true)) === true;
}

/** The layouts of our own operations, both ways. */
export const ownLayoutTarget: FuzzTarget = {
  name: "own-layouts",
  sources: [
    "src/wire/append-batch-layout.js",
    "src/wire/append-batch-result-layout.js",
    "src/wire/messages-layout.js",
    "src/wire/open-stream-layout.js",
    "src/wire/stream-document-layout.js",
    "src/wire/subscribe-layout.js",
    "src/wire/little-endian.js",
    "src/core/message-framing.js",
    "src/core/limits.js",
  ],
  inputBytesMax: 512,
  inputsPerCount: 64,
  // LZ4 packs at most 255 bytes into one.
  allocatedBytesMax: (input) => plainAllocation(input) + 2 * 255 * input.length,
  seeds: () => [...ownRequests("readings"), ...ownAnswers()],
  run(input) {
    const operation = input[0];
    if (operation === undefined) return;
    accepted(() => (checks[operation] ?? checkDocument)(input));
  },
};
