import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { decode as decodeWithCborg } from "cborg";
import { MillraceError } from "../../src/core/errors.ts";
import { StatusCode } from "../../src/core/status-code.ts";
import type { StreamDefinition } from "../../src/core/stream-definition.ts";
import {
  decodeAppendMessage,
  decodeAppendMessageResponse,
  encodeAppendMessage,
  encodeAppendMessageResponse,
} from "../../src/wire/append-message.ts";
import {
  decodeConnect,
  decodeConnectResponse,
  encodeConnect,
  encodeConnectResponse,
} from "../../src/wire/connect.ts";
import {
  decodeCreateMessageStream,
  encodeCreateMessageStream,
  encodeCreateMessageStreamResponse,
} from "../../src/wire/create-message-stream.ts";
import {
  encodeDeleteMessageStream,
  encodeDeleteMessageStreamResponse,
} from "../../src/wire/delete-message-stream.ts";
import {
  decodeDescribeMessageStreamResponse,
  encodeDescribeMessageStream,
  encodeDescribeMessageStreamResponse,
} from "../../src/wire/describe-message-stream.ts";
import {
  decodeListStreamsResponse,
  encodeListStreams,
  encodeListStreamsResponse,
} from "../../src/wire/list-streams.ts";
import {
  decodeReadMessages,
  decodeReadMessagesResponse,
  encodeReadMessages,
  encodeReadMessagesResponse,
} from "../../src/wire/read-messages.ts";
import { findRequestId, success } from "../../src/wire/reply.ts";
import {
  decodeUnknownOperationError,
  encodeUnknownOperationError,
} from "../../src/wire/unknown-operation.ts";
import { encodeUpdateMessageStreamResponse } from "../../src/wire/update-message-stream.ts";
import { goldenFrame, goldenFrames, goldenIndex, officialDecoders } from "../support/golden-frames.ts";
import { seededRandom, testSeed } from "../support/seeded-random.ts";

function decodeOfficial(frame: Uint8Array): unknown {
  const decode = officialDecoders[frame[0]!];
  assert.ok(decode, `operation ${frame[0]}`);
  return decode(frame);
}

/** Fails unless everything in `expected` stands in `actual`; `actual` may have more, such as defaults. */
function assertContains(actual: unknown, expected: unknown, path: string): void {
  if (expected instanceof Uint8Array) {
    assert.deepEqual(new Uint8Array(actual as Uint8Array), expected, path);
  } else if (Array.isArray(expected)) {
    assert.ok(Array.isArray(actual), path);
    assert.equal(actual.length, expected.length, path);
    expected.forEach((entry, index) => assertContains(actual[index], entry, `${path}[${index}]`));
  } else if (typeof expected === "object" && expected !== null) {
    for (const [key, value] of Object.entries(expected)) {
      const ours = key === "readMessagesOptions" ? "options" : key;
      // An empty token counts as none.
      if (key === "authToken" && value === "") continue;
      assertContains((actual as Record<string, unknown>)[ours], value, `${path}.${key}`);
    }
  } else {
    assert.equal(actual, expected, path);
  }
}

describe("captured frames of the official clients", () => {
  const frames = goldenFrames();

  it("are all there", () => assert.equal(frames.length, 94));

  for (const { name, frame } of frames) {
    it(`${name} decodes to what an independent decoder sees`, () => {
      assertContains(decodeOfficial(frame), decodeWithCborg(frame.subarray(1)), name);
    });
  }

  it("decode to what their index says", () => {
    let compared = 0;
    for (const [name, expected] of goldenIndex()) {
      if (!frames.some((golden) => golden.name === name)) continue;
      const actual = decodeOfficial(goldenFrame(name)) as Record<string, unknown>;
      if (typeof expected["payload"] === "string") {
        const hex = expected["payload"].slice(2, -1);
        assert.ok(
          Buffer.from(actual["payload"] as Uint8Array)
            .toString("hex")
            .startsWith(hex),
          name,
        );
        delete expected["payload"];
      }
      // The index writes payloads of read messages as text.
      delete expected["messages"];
      assertContains(actual, expected, name);
      compared++;
    }
    assert.ok(compared > 70, `${compared} rows compared`);
  });

  it("give their request id to findRequestId, whole or cut behind it", () => {
    for (const { name, frame } of frames) {
      const { requestId } = decodeOfficial(frame) as { requestId: string };
      assert.equal(findRequestId(frame), requestId, name);
      assert.equal(findRequestId(frame.subarray(0, 60)), requestId, name);
    }
  });

  it("fail cleanly at every proper prefix", () => {
    for (const { name, frame } of frames) {
      for (let length = 1; length < frame.length; length++) {
        assert.throws(
          () => decodeOfficial(frame.slice(0, length)),
          MillraceError,
          `${name} cut at ${length}`,
        );
      }
    }
  });

  it("decode or fail cleanly with any one bit flipped", () => {
    let refused = 0;
    for (const { name, frame } of frames) {
      for (let bit = 8; bit < frame.length * 8; bit++) {
        const flipped = frame.slice();
        flipped[bit >> 3]! ^= 1 << (bit & 7);
        refused += refusals(flipped, `${name} bit ${bit}`);
      }
    }
    assert.ok(refused > 10_000, `${refused} refused`);
  });

  it("decode or fail cleanly after seeded mutations", () => {
    const random = seededRandom(testSeed);
    const pick = (below: number): number => Math.floor(random.fraction() * below);
    let refused = 0;
    for (let round = 0; round < 20_000; round++) {
      const source = frames[pick(frames.length)]!;
      const bytes = source.frame.slice();
      for (let change = pick(4); change >= 0; change--) {
        const at = 1 + pick(bytes.length - 1);
        const length = Math.min(pick(8), bytes.length - at);
        if (pick(2) === 0) bytes[at] = pick(256);
        else bytes.copyWithin(at, 1 + pick(bytes.length - 1), 1 + pick(bytes.length - 1) + length);
      }
      refused += refusals(bytes, `SEED=${testSeed} round ${round} ${source.name}`);
    }
    assert.ok(refused > 1000, `${refused} refused`);
  });
});

/** 1 if the frame was refused as it must be, 0 if it decoded. */
function refusals(frame: Uint8Array, what: string): number {
  try {
    decodeOfficial(frame);
    return 0;
  } catch (thrown) {
    assert.ok(thrown instanceof MillraceError, `${what}: ${String(thrown)}`);
    assert.ok(["MALFORMED_CBOR", "INVALID_REQUEST"].includes(thrown.code), `${what}: ${thrown.message}`);
    assert.doesNotMatch(thrown.message, /\.$/, what);
    return 1;
  }
}

const idOf = (name: string): string => findRequestId(goldenFrame(name))!;

describe("replies", () => {
  const plain = [
    ["create-minimal", encodeCreateMessageStreamResponse],
    ["create-kinesis-ita", encodeCreateMessageStreamResponse],
    ["update", encodeUpdateMessageStreamResponse],
    ["delete", encodeDeleteMessageStreamResponse],
  ] as const;
  for (const [step, encode] of plain) {
    it(`to ${step} has the bytes that the clients accepted`, () => {
      const name = `reply-accepted.${step}`;
      assert.deepEqual(encode(success(idOf(name))), goldenFrame(name));
    });
  }

  it("to an append has the bytes that the clients accepted", () => {
    const name = "reply-accepted.append-binary";
    const reply = { ...success(idOf(name)), sequenceNumber: 1 };
    assert.deepEqual(encodeAppendMessageResponse(reply), goldenFrame(name));
    assert.deepEqual(decodeAppendMessageResponse(goldenFrame(name)), reply);
  });

  it("to a connect has the bytes that the clients accepted", () => {
    const name = "reply-accepted.connect";
    const reply = {
      ...success(idOf(name)),
      protocolVersion: "1.1.0",
      supportedProtocolVersions: ["1.0.0", "1.1.0"],
      serverVersion: "1.1.0",
      clientIdentifier: "c1",
    };
    assert.deepEqual(encodeConnectResponse(reply), goldenFrame(name));
    assert.deepEqual(decodeConnectResponse(goldenFrame(name)), reply);
  });

  it("to a list has the bytes that the clients accepted", () => {
    const name = "reply-accepted.list";
    const reply = { ...success(idOf(name)), streams: ["SensorData 1.a-b_c,", "Min"] };
    assert.deepEqual(encodeListStreamsResponse(reply), goldenFrame(name));
    assert.deepEqual(decodeListStreamsResponse(goldenFrame(name)), reply);
  });

  it("that refuse have the bytes that the clients accepted, and no key of a success", () => {
    const refusal = (name: string, status: StatusCode, errorMessage: string) => ({
      requestId: idOf(name),
      status,
      errorMessage,
    });
    const missing = "no such stream";
    const cases = [
      ["read-min50", encodeReadMessagesResponse, StatusCode.NotEnoughMessages, "not enough messages"],
      ["read-missing", encodeReadMessagesResponse, StatusCode.ResourceNotFound, missing],
      ["describe-missing", encodeDescribeMessageStreamResponse, StatusCode.ResourceNotFound, missing],
      ["delete-missing", encodeDeleteMessageStreamResponse, StatusCode.ResourceNotFound, missing],
    ] as const;
    for (const [step, encode, status, text] of cases) {
      const name = `reply-accepted.${step}`;
      assert.deepEqual(encode(refusal(name, status, text)), goldenFrame(name), step);
    }
  });

  it("to a read carry what the accepted one carries", () => {
    const frame = goldenFrame("reply-accepted.read-options");
    const reply = decodeReadMessagesResponse(frame);
    assert.equal(reply.messages?.length, 2);
    assert.deepEqual(reply.messages[1], {
      streamName: "SensorData 1.a-b_c,",
      sequenceNumber: 1,
      ingestTime: 1795413144485,
      payload: Uint8Array.of(0, 1, 2, 255),
    });
    const again = encodeReadMessagesResponse(reply);
    assert.deepEqual(decodeWithCborg(again.subarray(1)), decodeWithCborg(frame.subarray(1)));
    assert.equal(again.length, frame.length);
  });

  it("to a describe carry what the accepted one carries, and every list even when empty", () => {
    const frame = goldenFrame("reply-accepted.describe");
    const reply = decodeDescribeMessageStreamResponse(frame);
    const again = encodeDescribeMessageStreamResponse(reply);
    assert.deepEqual(decodeDescribeMessageStreamResponse(again), reply);
    assertContains(decodeWithCborg(again.subarray(1)), decodeWithCborg(frame.subarray(1)), "describe");
    const raw = decodeWithCborg(again.subarray(1)) as {
      messageStreamInfo: { definition: StreamDefinition };
    };
    assert.deepEqual(raw.messageStreamInfo.definition.exportDefinition.s3TaskExecutor, []);
  });

  it("to an unknown operation carry status 18 under the same id", () => {
    const reply = decodeUnknownOperationError(encodeUnknownOperationError({ requestId: " ", operation: 99 }));
    assert.equal(reply.requestId, " ");
    assert.equal(reply.status, StatusCode.UnknownOperation);
    assert.match(reply.errorMessage, /operation 99/);
  });
});

describe("requests", () => {
  const requestId = idOf("js-core-1.7.0.append-text");

  it("have the bytes of the official JavaScript client", () => {
    const payload = new TextEncoder().encode("hello world");
    const name = "SensorData 1.a-b_c,";
    const append = encodeAppendMessage({ requestId, name, payload });
    assert.deepEqual(append, goldenFrame("js-core-1.7.0.append-text"));

    const named = { requestId: idOf("js-core-1.7.0.describe"), name };
    assert.deepEqual(encodeDescribeMessageStream(named), goldenFrame("js-core-1.7.0.describe"));
    const deleted = { requestId: idOf("js-core-1.7.0.delete"), name };
    assert.deepEqual(encodeDeleteMessageStream(deleted), goldenFrame("js-core-1.7.0.delete"));
    const list = { requestId: idOf("js-core-1.7.0.list") };
    assert.deepEqual(encodeListStreams(list), goldenFrame("js-core-1.7.0.list"));
    const connect = decodeConnect(goldenFrame("auth-js-core-1.7.0.connect"));
    assert.equal(connect.authToken, "EXAMPLETOKEN0123");
    assert.deepEqual(encodeConnect(connect), goldenFrame("auth-js-core-1.7.0.connect"));

    const plain = { requestId: idOf("js-core-1.7.0.read-default"), streamName: name };
    assert.deepEqual(encodeReadMessages(plain), goldenFrame("js-core-1.7.0.read-default"));
    const options = {
      desiredStartSequenceNumber: 0,
      minMessageCount: 1,
      maxMessageCount: 100,
      readTimeoutMillis: 5000,
    };
    const read = { requestId: idOf("js-core-1.7.0.read-options"), streamName: name, options };
    assert.deepEqual(encodeReadMessages(read), goldenFrame("js-core-1.7.0.read-options"));
  });

  it("to create come back as the same definition", () => {
    for (const step of ["create-minimal", "create-kinesis-ita", "create-http-sitewise-s3"]) {
      const request = decodeCreateMessageStream(goldenFrame(`java-sdk-1.1.0.${step}`));
      assert.deepEqual(decodeCreateMessageStream(encodeCreateMessageStream(request)), request, step);
    }
  });

  it("to read have the defaults of the protocol", () => {
    const read = (options?: object) =>
      decodeReadMessages(encodeReadMessages({ requestId, streamName: "s", ...(options && { options }) }))
        .options;
    const defaults = {
      desiredStartSequenceNumber: 0,
      minMessageCount: 1,
      maxMessageCount: 1,
      readTimeoutMillis: 0,
    };
    assert.deepEqual(read(), defaults);
    assert.deepEqual(read({ minMessageCount: 2 }), { ...defaults, minMessageCount: 2, maxMessageCount: 2 });
    assert.throws(
      () => read({ minMessageCount: 3, maxMessageCount: 2 }),
      /minMessageCount is 3, above maxMessageCount 2/,
    );
    assert.throws(() => read({ minMessageCount: 0 }), /minMessageCount is 0, the minimum is 1/);
    assert.throws(() => read({ maxMessageCount: 2 ** 31 }), /the maximum is 2147483647/);
    // Above any sequence number there can be, and still exact.
    const huge = read({ desiredStartSequenceNumber: 2 ** 62 });
    assert.equal(huge.desiredStartSequenceNumber, Number.MAX_SAFE_INTEGER);
  });

  it("to append are refused without payload, with an empty one, or with a bad name", () => {
    const append = (payload: Uint8Array, name = "s") =>
      decodeAppendMessage(encodeAppendMessage({ requestId, name, payload }));
    assert.throws(() => append(new Uint8Array(0)), /payload has 0 bytes, the minimum is 1/);
    assert.throws(() => append(Uint8Array.of(1), "a/b"), /name is "a\/b"/);
    assert.throws(() => append(Uint8Array.of(1), ""), /name is ""/);
    assert.throws(() => append(Uint8Array.of(1), "x".repeat(256)), /1 to 255 characters/);
    assert.equal(append(Uint8Array.of(1), "x".repeat(255)).name.length, 255);
  });

  it("to append give a payload that is a view, in the usual shape and in any other", () => {
    const usual = encodeAppendMessage({ requestId: "r", name: "s", payload: new Uint8Array(70_000).fill(7) });
    const decoded = decodeAppendMessage(usual);
    assert.equal(decoded.payload.buffer, usual.buffer);
    assert.equal(decoded.payload.length, 70_000);
    // payload first, an unknown key between, chunked name: the shapes that no client sends and any may.
    const hex = "04bf" + "677061796c6f6164" + "4101" + "6178" + "82f6a0" + "646e616d65" + "7f61736174ff";
    const other = Buffer.from(hex + "69726571756573744964" + "6172" + "ff", "hex");
    assert.deepEqual(
      { ...decodeAppendMessage(other), payload: undefined },
      { requestId: "r", name: "st", payload: undefined },
    );
  });
});
