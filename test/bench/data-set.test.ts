import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { describe, it } from "node:test";
import { compressSync } from "lz4-napi";
import { checkFraming, FramingFault, MESSAGE_LENGTH_BYTES } from "../../src/core/message-framing.ts";
import { createInferenceDataSet, type DataSet } from "../../bench/data-set.ts";
import { createSensorDataSet } from "../../bench/data-set-sensor.ts";
import { createTensorDataSet } from "../../bench/data-set-tensor.ts";
import { median } from "../../bench/statistics.ts";
import { encodeWebSocketHeader, FrameArena } from "../../bench/scenario/frame-arena.ts";
import { createAppendBatchHeader, readAppendBatchHeader } from "../../src/wire/append-batch-layout.ts";

describe("createInferenceDataSet", () => {
  it("gives JSON of 160 B on average, always the same", () => {
    const { messages, payloadBytes } = createInferenceDataSet(20_000);
    const meanBytes = payloadBytes / messages.length;
    assert.ok(Math.abs(meanBytes - 160) < 1, `${meanBytes} B`);
    const hash = createHash("sha256");
    for (const message of messages) {
      assert.equal(typeof JSON.parse(Buffer.from(message).toString()), "object");
      hash.update(message);
    }
    // Results are compared over the years: whoever changes the data set makes a new one.
    assert.equal(hash.digest("hex").slice(0, 16), "6b75f05554d4d187");
  });
});

/** How many times smaller LZ4 makes the messages in a batch of 256 KiB. */
function lz4Ratio({ messages }: DataSet): number {
  const raw = Buffer.concat(messages).subarray(0, 256 * 1024);
  return raw.length / compressSync(raw).length;
}

function digest({ messages }: DataSet): string {
  const hash = createHash("sha256");
  for (const message of messages) hash.update(message);
  return hash.digest("hex").slice(0, 16);
}

describe("createTensorDataSet", () => {
  for (const [valueCount, hash] of [
    [40, "e77bcca583ca5cd8"],
    [1024, "362eef5a80cde422"],
  ] as const) {
    it(`gives tensors of ${valueCount} values that LZ4 does not shrink, always the same`, () => {
      const dataSet = createTensorDataSet(4000, valueCount);
      assert.equal(dataSet.payloadBytes, 4000 * 4 * valueCount);
      const values = dataSet.messages.flatMap((message) => [...new Float32Array(message.buffer)]);
      assert.ok(values.every((value) => Number.isFinite(value) && Math.abs(value) < 10));
      assert.ok(Math.abs(lz4Ratio(dataSet) - 1) < 0.01, `${lz4Ratio(dataSet)}`);
      assert.equal(digest(dataSet), hash);
    });
  }
});

describe("createSensorDataSet", () => {
  it("gives lines of a time, a name and a value, always the same", () => {
    const dataSet = createSensorDataSet(20_000);
    const meanBytes = dataSet.payloadBytes / dataSet.messages.length;
    assert.ok(Math.abs(meanBytes - 65) < 1, `${meanBytes} B`);
    for (const message of dataSet.messages)
      assert.match(Buffer.from(message).toString(), /^\d{4}-\d\d-\d\dT[\d:.]{12}Z plant\/[\w/]+ -?\d+\.\d+$/);
    assert.ok(lz4Ratio(dataSet) > 2, `${lz4Ratio(dataSet)}`);
    assert.equal(digest(dataSet), "d6522f00944cad99");
  });
});

describe("FrameArena", () => {
  const { messages } = createInferenceDataSet(1000);

  for (const batchBytes of [undefined, 4096, 65_536]) {
    it(`puts whole AppendBatch frames of ${batchBytes ?? "one message"} into WebSocket frames`, () => {
      const arena = new FrameArena({ messages, handle: 7, batchBytes, framesPerWrite: 2 });
      const header = createAppendBatchHeader();
      const found: Buffer[] = [];
      for (let frame = 0; frame < arena.frameCount; frame++) {
        arena.setRequestId(frame, 40 + frame);
        const view = arena.view(frame, frame + 1);
        const headerBytes = webSocketHeaderBytes(view);
        const body = view.subarray(headerBytes);
        assert.deepEqual(view.subarray(0, headerBytes), encodeWebSocketHeader(body.length));
        assert.ok(batchBytes === undefined || body.length <= batchBytes);
        readAppendBatchHeader(body, header);
        assert.deepEqual([header.handle, header.requestId], [7, 40 + frame]);
        assert.equal(header.messageCount, arena.messageCounts[frame]);
        const { messagesAt, messageCount, rawSizeBytes } = header;
        assert.equal(checkFraming(body, messagesAt, body.length, messageCount), FramingFault.None);
        assert.equal(rawSizeBytes - messageCount * MESSAGE_LENGTH_BYTES, arena.payloadBytes[frame]);
        found.push(...payloads(body.subarray(header.messagesAt)));
      }
      assert.equal(arena.frameCount % 2, 0);
      assert.deepEqual(
        found,
        messages.slice(0, found.length).map((message) => Buffer.from(message)),
      );
    });
  }
});

/** RFC 6455 5.2, by another way than the encoder's. */
function webSocketHeaderBytes(frame: Buffer): number {
  assert.equal(frame[0], 0x82);
  const short = frame[1]! - 0x80;
  const [headerBytes, length] =
    short < 126
      ? [6, short]
      : short === 126
        ? [8, frame.readUInt16BE(2)]
        : [14, Number(frame.readBigUInt64BE(2))];
  assert.equal(frame.length, headerBytes + length);
  assert.equal(frame.readUInt32LE(headerBytes - 4), 0, "the masking key");
  return headerBytes;
}

function payloads(bytes: Buffer): Buffer[] {
  const found: Buffer[] = [];
  for (let at = 0; at < bytes.length;) {
    const end = at + 4 + bytes.readUInt32LE(at);
    found.push(bytes.subarray(at + 4, end));
    at = end;
  }
  return found;
}

describe("median", () => {
  it("is the middle value, or the mean of the two in the middle", () => {
    assert.equal(median([9, 1, 5]), 5);
    assert.equal(median([8, 1, 4, 2]), 3);
    assert.throws(() => median([]));
  });
});
