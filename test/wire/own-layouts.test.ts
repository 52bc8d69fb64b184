import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { MillraceError } from "../../src/core/errors.ts";
import { checkFraming, describeFramingFault, FramingFault } from "../../src/core/message-framing.ts";
import {
  APPEND_BATCH_BYTES_MAX,
  APPEND_BATCH_MESSAGES_MAX,
  LZ4_BLOCK_RAW_BYTES_MAX,
  STREAM_DOCUMENT_BYTES_MAX,
} from "../../src/core/limits.ts";
import { StatusCode } from "../../src/core/status-code.ts";
import {
  APPEND_BATCH_HEADER_BYTES,
  createAppendBatchHeader,
  encodeAppendBatch,
  readAppendBatchHeader,
  writeAppendBatchHeader,
} from "../../src/wire/append-batch-layout.ts";
import type { AppendBatchHeader } from "../../src/wire/append-batch-layout.ts";
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

const text = (value: string): Uint8Array => new TextEncoder().encode(value);
const bytesOf = (hex: string): Uint8Array => new Uint8Array(Buffer.from(hex.replace(/[\s|]/g, ""), "hex"));

function readHeader(frame: Uint8Array): AppendBatchHeader {
  const header = createAppendBatchHeader();
  readAppendBatchHeader(frame, header);
  const fault = checkFraming(frame, header.messagesAt, frame.length, header.messageCount);
  if (fault !== FramingFault.None) throw new MillraceError("MALFORMED_FRAME", describeFramingFault(fault));
  return header;
}

interface Result {
  requestId: number;
  status: number;
  firstSequence: number;
  errorMessage: string;
}

function readResults(frame: Uint8Array): Result[] {
  const results: Result[] = [];
  decodeAppendBatchResult(frame, (requestId, status, firstSequence, errorMessage) =>
    results.push({ requestId, status, firstSequence, errorMessage }),
  );
  return results;
}

function readMessages(frame: Uint8Array) {
  const header = decodeMessagesHeader(frame);
  const events: unknown[] = [];
  forEachMessage(frame, {
    onMessage: (sequence, ingestTimeMs, payload) =>
      events.push([sequence, ingestTimeMs, new TextDecoder().decode(payload)]),
    onGap: (firstSequence, missingCount, reason) => events.push({ firstSequence, missingCount, reason }),
  });
  return { header, events };
}

const sequence = 2 ** 40 + 5;
const writer = new AppendResultWriter();
writer.addSuccess(7, sequence);
writer.addFailure(8, 64, "full");
writer.addSuccess(9, 0);

const messages = {
  subscriptionId: 3,
  firstSequence: 10,
  durableEndSequence: 12,
  runs: [
    { messageCount: 1, ingestTimeMs: 1000 },
    { gapReason: GapReason.Corrupt, missingCount: 2 ** 33 },
    { messageCount: 2, ingestTimeMs: 1001 },
  ],
  messageBytes: bytesOf("01000000 61 | 02000000 6263 | 01000000 64"),
};

/** Each frame of ours: its bytes, what encodes it, what decodes it, and to what. */
const layouts = [
  {
    name: "OpenStream",
    golden: bytesOf("40 00 0000 | 04030201 | 0200 | 7331"),
    encode: () => encodeOpenStream({ requestId: 0x01020304, name: "s1" }),
    decode: decodeOpenStream,
    value: { requestId: 0x01020304, name: "s1" },
  },
  {
    name: "OpenStreamResult",
    golden: bytesOf("41 00 0000 | 01000000 | 02000000 | 0500000000010000"),
    encode: () =>
      encodeOpenStreamResult({
        requestId: 1,
        status: 0,
        handle: 2,
        nextSequence: sequence,
        errorMessage: "",
      }),
    decode: decodeOpenStreamResult,
    value: { requestId: 1, status: 0, handle: 2, nextSequence: sequence, errorMessage: "" },
  },
  {
    name: "OpenStreamResult that refuses",
    golden: bytesOf("41 05 0200 | 01000000 | 00000000 | 0000000000000000 | 6e6f"),
    encode: () =>
      encodeOpenStreamResult({ requestId: 1, status: 5, handle: 0, nextSequence: 0, errorMessage: "no" }),
    decode: decodeOpenStreamResult,
    value: { requestId: 1, status: 5, handle: 0, nextSequence: 0, errorMessage: "no" },
  },
  {
    name: "AppendBatch",
    golden: bytesOf("42 00 0000 | 05000000 | 06000000 | 0b000000 | 02000000 | 01000000 61 | 02000000 6263"),
    encode: () => encodeAppendBatch({ handle: 5, requestId: 6, messages: [text("a"), text("bc")] }),
    decode: readHeader,
    value: {
      isLz4: false,
      hasProducer: false,
      handle: 5,
      requestId: 6,
      rawSizeBytes: 11,
      messageCount: 2,
      producerId: 0,
      producerSequence: 0,
      messagesAt: 20,
    },
  },
  {
    name: "AppendBatch of a producer",
    golden: bytesOf(
      "42 02 0000 | 05000000 | 06000000 | 05000000 | 01000000 | 0100000001000000 | 0900000000000000 | 01000000 61",
    ),
    encode: () =>
      encodeAppendBatch({
        handle: 5,
        requestId: 6,
        messages: [text("a")],
        producer: { id: 2 ** 32 + 1, sequence: 9 },
      }),
    decode: readHeader,
    value: {
      isLz4: false,
      hasProducer: true,
      handle: 5,
      requestId: 6,
      rawSizeBytes: 5,
      messageCount: 1,
      producerId: 2 ** 32 + 1,
      producerSequence: 9,
      messagesAt: 36,
    },
  },
  {
    name: "AppendBatchResult",
    golden: bytesOf(
      "43 00 0300 | 07000000 00000000 0500000000010000 | 08000000 40000000 0000000000000000 |" +
        "09000000 00000000 0000000000000000 | 0400 66756c6c",
    ),
    encode: (() => {
      const frame = writer.take();
      return () => frame;
    })(),
    decode: readResults,
    value: [
      { requestId: 7, status: 0, firstSequence: sequence, errorMessage: "" },
      { requestId: 8, status: 64, firstSequence: 0, errorMessage: "full" },
      { requestId: 9, status: 0, firstSequence: 0, errorMessage: "" },
    ],
  },
  {
    name: "Subscribe",
    golden: bytesOf("44 00 0000 | 05000000 | 03000000 | 0500000000010000 | 00001000"),
    encode: () =>
      encodeSubscribe({ handle: 5, subscriptionId: 3, fromSequence: sequence, creditBytes: 0x100000 }),
    decode: decodeSubscribe,
    value: { handle: 5, subscriptionId: 3, fromSequence: sequence, creditBytes: 0x100000 },
  },
  {
    name: "SubscribeResult",
    golden: bytesOf("45 44 0200 | 03000000 | 0a00000000000000 | 6e6f"),
    encode: () =>
      encodeSubscribeResult({ subscriptionId: 3, status: 68, firstSequence: 10, errorMessage: "no" }),
    decode: decodeSubscribeResult,
    value: { subscriptionId: 3, status: 68, firstSequence: 10, errorMessage: "no" },
  },
  {
    name: "Messages",
    golden: bytesOf(
      "46 00 0300 | 03000000 | 0a00000000000000 | 0c00000000000000 | 03000000 |" +
        "01000000 00000000 e803000000000000 | 00000000 03000000 0000000002000000 |" +
        "02000000 00000000 e903000000000000 | 01000000 61 | 02000000 6263 | 01000000 64",
    ),
    encode: () => encodeMessages(messages),
    decode: readMessages,
    value: {
      header: {
        subscriptionId: 3,
        firstSequence: 10,
        endSequence: 13 + 2 ** 33,
        durableEndSequence: 12,
        messageCount: 3,
      },
      events: [
        [10, 1000, "a"],
        { firstSequence: 11, missingCount: 2 ** 33, reason: GapReason.Corrupt },
        [11 + 2 ** 33, 1001, "bc"],
        [12 + 2 ** 33, 1001, "d"],
      ],
    },
  },
  {
    name: "Credit",
    golden: bytesOf("47 00 0000 | 03000000 | 00010000"),
    encode: () => encodeCredit({ subscriptionId: 3, creditBytes: 256 }),
    decode: decodeCredit,
    value: { subscriptionId: 3, creditBytes: 256 },
  },
  {
    name: "Unsubscribe",
    golden: bytesOf("48 00 0000 | 03000000"),
    encode: () => encodeUnsubscribe(3),
    decode: decodeUnsubscribe,
    value: 3,
  },
  {
    name: "DescribeStream",
    golden: bytesOf("49 00 0200 | 04030201 | 00000000 | 7331"),
    encode: () =>
      encodeStreamDocumentRequest(Operation.DescribeStream, {
        requestId: 0x01020304,
        name: "s1",
        document: "",
      }),
    decode: decodeStreamDocumentRequest,
    value: { requestId: 0x01020304, name: "s1", document: "" },
  },
  {
    name: "DescribeStreamResult",
    golden: bytesOf("4a 00 0000 | 01000000 | 0a000000 | 7b2278223a22c3a9227d"),
    encode: () =>
      encodeStreamDocumentResult(Operation.DescribeStream, {
        requestId: 1,
        status: 0,
        errorMessage: "",
        document: '{"x":"é"}',
      }),
    decode: decodeStreamDocumentResult,
    value: { requestId: 1, status: 0, errorMessage: "", document: '{"x":"é"}' },
  },
  {
    name: "ConfigureStream",
    golden: bytesOf("4b 00 0200 | 01000000 | 02000000 | 7331 | 7b7d"),
    encode: () =>
      encodeStreamDocumentRequest(Operation.ConfigureStream, { requestId: 1, name: "s1", document: "{}" }),
    decode: decodeStreamDocumentRequest,
    value: { requestId: 1, name: "s1", document: "{}" },
  },
  {
    name: "ConfigureStreamResult that refuses",
    golden: bytesOf("4c 05 0200 | 01000000 | 00000000 | 6e6f"),
    encode: () =>
      encodeStreamDocumentResult(Operation.ConfigureStream, {
        requestId: 1,
        status: 5,
        errorMessage: "no",
        document: "",
      }),
    decode: decodeStreamDocumentResult,
    value: { requestId: 1, status: 5, errorMessage: "no", document: "" },
  },
  {
    name: "CreateStream",
    golden: bytesOf("4d 00 0200 | 01000000 | 02000000 | 7331 | 7b7d"),
    encode: () =>
      encodeStreamDocumentRequest(Operation.CreateStream, { requestId: 1, name: "s1", document: "{}" }),
    decode: decodeStreamDocumentRequest,
    value: { requestId: 1, name: "s1", document: "{}" },
  },
  {
    name: "CommandExports",
    golden: bytesOf("4f 00 0200 | 01000000 | 02000000 | 7331 | 7b7d"),
    encode: () =>
      encodeStreamDocumentRequest(Operation.CommandExports, { requestId: 1, name: "s1", document: "{}" }),
    decode: decodeStreamDocumentRequest,
    value: { requestId: 1, name: "s1", document: "{}" },
  },
  {
    name: "CommandExportsResult",
    golden: bytesOf("50 00 0000 | 01000000 | 02000000 | 7b7d"),
    encode: () =>
      encodeStreamDocumentResult(Operation.CommandExports, {
        requestId: 1,
        status: 0,
        errorMessage: "",
        document: "{}",
      }),
    decode: decodeStreamDocumentResult,
    value: { requestId: 1, status: 0, errorMessage: "", document: "{}" },
  },
];

describe("layouts of our own operations", () => {
  for (const { name, golden, encode, decode, value } of layouts) {
    it(`${name} encodes to its golden bytes and decodes from them`, () => {
      assert.deepEqual(encode(), golden);
      assert.deepEqual(decode(golden), value);
    });

    it(`${name} fails cleanly at every proper prefix and with a byte more`, () => {
      for (let length = 0; length < golden.length; length++) {
        assert.throws(() => decode(golden.slice(0, length)), MillraceError, `${name} cut at ${length}`);
      }
      assert.throws(() => decode(Uint8Array.from([...golden, 0])), MillraceError, `${name} with a byte more`);
    });

    it(`${name} decodes at any alignment`, () => {
      for (let offset = 1; offset < 8; offset++) {
        const room = new Uint8Array(golden.length + offset);
        room.set(golden, offset);
        assert.deepEqual(decode(room.subarray(offset)), value);
      }
    });

    it(`${name} decodes or fails cleanly with any one bit flipped`, () => {
      for (let bit = 8; bit < golden.length * 8; bit++) {
        const flipped = golden.slice();
        flipped[bit >> 3]! ^= 1 << (bit & 7);
        try {
          decode(flipped);
        } catch (thrown) {
          assert.ok(thrown instanceof MillraceError, `${name} bit ${bit}: ${String(thrown)}`);
        }
      }
    });
  }
});

describe("readAppendBatchHeader", () => {
  const refusal = (change: (frame: Uint8Array) => void, code: string) => {
    const frame = encodeAppendBatch({ handle: 5, requestId: 6, messages: [text("a"), text("bc")] });
    change(frame);
    const header = createAppendBatchHeader();
    assert.throws(
      () => readAppendBatchHeader(frame, header),
      (thrown) => thrown instanceof MillraceError && thrown.code === code,
    );
    return header.requestId;
  };
  const put = (at: number, value: number) => (frame: Uint8Array) =>
    new DataView(frame.buffer).setUint32(at, value, true);

  it("refuses unknown flags, filled reserved bytes, counts and sizes out of range, and keeps the request id", () => {
    assert.equal(
      refusal((frame) => (frame[1] = 4), "MALFORMED_FRAME"),
      6,
    );
    assert.equal(
      refusal((frame) => (frame[3] = 1), "MALFORMED_FRAME"),
      6,
    );
    assert.equal(refusal(put(16, 0), "INVALID_REQUEST"), 6);
    assert.equal(refusal(put(16, APPEND_BATCH_MESSAGES_MAX + 1), "INVALID_REQUEST"), 6);
    assert.equal(refusal(put(12, 10), "MALFORMED_FRAME"), 6);
    assert.equal(refusal(put(12, APPEND_BATCH_BYTES_MAX + 1), "FRAME_TOO_LARGE"), 6);
    assert.equal(refusal(put(16, 3), "MALFORMED_FRAME"), 6);
  });

  it("refuses a producer id above 2^53 - 1, and id 0, which is nobody's", () => {
    const frame = encodeAppendBatch({
      handle: 1,
      requestId: 1,
      messages: [text("a")],
      producer: { id: 1, sequence: 1 },
    });
    const view = new DataView(frame.buffer);
    view.setUint32(24, 0x200000, true);
    assert.throws(() => readHeader(frame), /above 9007199254740991/);
    view.setUint32(24, 0x1fffff, true);
    view.setUint32(20, 0xffffffff, true);
    assert.equal(readHeader(frame).producerId, 2 ** 53 - 1);
    view.setBigUint64(20, 0n);
    assert.throws(() => readHeader(frame), /producer id 0, the least is 1/);
  });

  it("refuses a compressed batch that claims more than LZ4 can unpack to", () => {
    const frame = new Uint8Array(APPEND_BATCH_HEADER_BYTES + 100);
    const header = { handle: 1, requestId: 1, messageCount: 2, isLz4: true };
    writeAppendBatchHeader(frame, { ...header, rawSizeBytes: 25_500 });
    readAppendBatchHeader(frame, createAppendBatchHeader());
    writeAppendBatchHeader(frame, { ...header, rawSizeBytes: 25_501 });
    assert.throws(() => readAppendBatchHeader(frame, createAppendBatchHeader()), /does not fit/);
  });

  it("refuses a compressed message that is larger than an LZ4 block of the store may be", () => {
    const frame = new Uint8Array(APPEND_BATCH_HEADER_BYTES + 2 ** 20);
    const header = { handle: 1, requestId: 1, messageCount: 1, isLz4: true };
    writeAppendBatchHeader(frame, { ...header, rawSizeBytes: LZ4_BLOCK_RAW_BYTES_MAX });
    assert.equal(frame[1], 1);
    readAppendBatchHeader(frame, createAppendBatchHeader());
    writeAppendBatchHeader(frame, { ...header, rawSizeBytes: LZ4_BLOCK_RAW_BYTES_MAX + 1 });
    assert.throws(
      () => readAppendBatchHeader(frame, createAppendBatchHeader()),
      /4194305 bytes in 1 messages, the maximum is 4194304/,
    );
  });

  it("takes one large message in a batch of its own, and not beside another", () => {
    const large = new Uint8Array(2 * APPEND_BATCH_BYTES_MAX);
    assert.equal(
      readHeader(encodeAppendBatch({ handle: 1, requestId: 1, messages: [large] })).messageCount,
      1,
    );
    const two = encodeAppendBatch({ handle: 1, requestId: 1, messages: [large, text("a")] });
    assert.throws(() => readHeader(two), /the maximum is 1048576/);
  });
});

describe("AppendResultWriter", () => {
  it("grows, starts again after each frame, and cuts long texts", () => {
    const results = new AppendResultWriter();
    for (let round = 0; round < 2; round++) {
      for (let index = 0; index < 1000; index++) results.addSuccess(index, index * 3);
      results.addFailure(1000, 3, "ü".repeat(5000));
      assert.equal(results.count, 1001);
      const read = readResults(results.take());
      assert.equal(results.count, 0);
      assert.deepEqual(read[999], { requestId: 999, status: 0, firstSequence: 2997, errorMessage: "" });
      assert.equal(read[1000]?.errorMessage, "ü".repeat(512));
    }
  });

  it("tells with a gap which batch was expected", () => {
    const results = new AppendResultWriter();
    results.addFailure(1, StatusCode.SequenceGap, "gap", 2 ** 40);
    results.addFailure(2, StatusCode.SequenceGap, "not known", 0);
    assert.deepEqual(readResults(results.take()), [
      { requestId: 1, status: StatusCode.SequenceGap, firstSequence: 2 ** 40, errorMessage: "gap" },
      { requestId: 2, status: StatusCode.SequenceGap, firstSequence: 0, errorMessage: "not known" },
    ]);
  });

  it("calls nothing for a frame that is malformed behind its first result", () => {
    const results = new AppendResultWriter();
    results.addSuccess(1, 1);
    results.addFailure(2, 3, "no");
    const frame = results.take();
    let calls = 0;
    assert.throws(() => decodeAppendBatchResult(frame.subarray(0, -1), () => calls++), MillraceError);
    assert.equal(calls, 0);
  });
});

describe("a request or result with a document", () => {
  it("is refused where it is longer than the limit, on either side", () => {
    const request = { requestId: 1, name: "s", document: "x".repeat(STREAM_DOCUMENT_BYTES_MAX + 1) };
    assert.throws(() => encodeStreamDocumentRequest(Operation.ConfigureStream, request), {
      code: "INVALID_REQUEST",
      message: /document of 1048577 bytes, the maximum is 1048576/,
    });
    const named = { requestId: 1, name: "é".repeat(400), document: "" };
    assert.throws(() => encodeStreamDocumentRequest(Operation.DescribeStream, named), /name is 800 bytes/);
    const result = { requestId: 7, status: 0, errorMessage: "", document: request.document };
    assert.deepEqual(
      decodeStreamDocumentResult(encodeStreamDocumentResult(Operation.DescribeStream, result)),
      {
        requestId: 7,
        status: 7,
        errorMessage: "The answer has 1048577 bytes, the maximum is 1048576",
        document: "",
      },
    );
  });

  it("of the largest size arrives whole", () => {
    const document = "x".repeat(STREAM_DOCUMENT_BYTES_MAX);
    const frame = encodeStreamDocumentRequest(Operation.CreateStream, { requestId: 1, name: "s", document });
    assert.equal(decodeStreamDocumentRequest(frame).document, document);
  });

  it("that is no UTF-8 is malformed", () => {
    assert.throws(() => decodeStreamDocumentRequest(bytesOf("4b 00 0100 | 01000000 | 01000000 | 73 | ff")), {
      code: "MALFORMED_FRAME",
    });
  });
});
