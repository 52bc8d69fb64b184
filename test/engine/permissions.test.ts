import assert from "node:assert/strict";
import { test } from "node:test";
import { type AccessPatterns, AccessRights } from "../../src/core/access-rights.ts";
import { Persistence, StrategyOnFull } from "../../src/core/stream-definition.ts";
import { StatusCode } from "../../src/core/status-code.ts";
import type { Engine } from "../../src/engine/engine.ts";
import { encodeAppendBatch } from "../../src/wire/append-batch-layout.ts";
import { decodeAppendBatchResult } from "../../src/wire/append-batch-result-layout.ts";
import { encodeAppendMessage } from "../../src/wire/append-message.ts";
import { encodeCreateMessageStream } from "../../src/wire/create-message-stream.ts";
import { encodeDeleteMessageStream } from "../../src/wire/delete-message-stream.ts";
import { encodeDescribeMessageStream } from "../../src/wire/describe-message-stream.ts";
import { encodeListStreams, type ListStreamsResponse } from "../../src/wire/list-streams.ts";
import { decodeOpenStreamResult, encodeOpenStream } from "../../src/wire/open-stream-layout.ts";
import { Operation } from "../../src/wire/operation.ts";
import { encodeReadMessages } from "../../src/wire/read-messages.ts";
import type { Reply } from "../../src/wire/reply.ts";
import { checkStreamDefinition } from "../../src/wire/stream-definition-codec.ts";
import {
  decodeStreamDocumentResult,
  encodeStreamDocumentRequest,
} from "../../src/wire/stream-document-layout.ts";
import {
  decodeSubscribeResult,
  encodeCredit,
  encodeSubscribe,
  encodeUnsubscribe,
} from "../../src/wire/subscribe-layout.ts";
import { encodeUpdateMessageStream } from "../../src/wire/update-message-stream.ts";
import { officialDecoders } from "../support/golden-frames.ts";
import { startTestEngine, TestSession } from "./engine-fixture.ts";

const definitionOf = (name: string) =>
  checkStreamDefinition({
    name,
    persistence: Persistence.Memory,
    strategyOnFull: StrategyOnFull.OverwriteOldestData,
  });

/** A session that keeps the frames it was sent. */
class FrameSession extends TestSession {
  readonly frames: Buffer[] = [];
  #onFrame: () => void = () => undefined;

  override send(frame: Uint8Array): void {
    this.frames.push(Buffer.from(frame));
    super.send(frame);
    this.#onFrame();
  }

  async nextFrame(): Promise<Buffer> {
    while (this.frames.length === 0) await new Promise<void>((resolve) => (this.#onFrame = resolve));
    return this.frames.shift()!;
  }
}

function session(engine: Engine, some: Partial<AccessPatterns>, name = "camera"): FrameSession {
  const rights = new AccessRights({ append: [], read: [], manage: [], metrics: false, ...some });
  return new FrameSession(engine, { name, rights });
}

interface Ask {
  readonly operation: number;
  /** What is needed; undefined: nothing, since the answer holds nothing that one may not see. */
  readonly needs: "append" | "read" | "manage" | "any" | undefined;
  /** `handle` was opened on this connection, by another right where the needed one is not there. */
  readonly frame: (name: string, handle: number) => Uint8Array;
}

const requestId = "1";
const document = { requestId: 1, document: "{}" };
const asks: readonly Ask[] = [
  {
    operation: Operation.CreateMessageStream,
    needs: "manage",
    frame: (name) => encodeCreateMessageStream({ requestId, definition: definitionOf(name) }),
  },
  {
    operation: Operation.DeleteMessageStream,
    needs: "manage",
    frame: (name) => encodeDeleteMessageStream({ requestId, name }),
  },
  {
    operation: Operation.AppendMessage,
    needs: "append",
    frame: (name) => encodeAppendMessage({ requestId, name, payload: Buffer.from("a") }),
  },
  {
    operation: Operation.ReadMessages,
    needs: "read",
    frame: (streamName) => encodeReadMessages({ requestId, streamName }),
  },
  { operation: Operation.ListStreams, needs: undefined, frame: () => encodeListStreams({ requestId }) },
  {
    operation: Operation.DescribeMessageStream,
    needs: "any",
    frame: (name) => encodeDescribeMessageStream({ requestId, name }),
  },
  {
    operation: Operation.UpdateMessageStream,
    needs: "manage",
    frame: (name) => encodeUpdateMessageStream({ requestId, definition: definitionOf(name) }),
  },
  {
    operation: Operation.OpenStream,
    needs: "any",
    frame: (name) => encodeOpenStream({ requestId: 1, name }),
  },
  {
    operation: Operation.AppendBatch,
    needs: "append",
    frame: (_, handle) => encodeAppendBatch({ handle, requestId: 1, messages: [Buffer.from("a")] }),
  },
  {
    operation: Operation.Subscribe,
    needs: "read",
    frame: (_, handle) => encodeSubscribe({ handle, subscriptionId: 1, fromSequence: 0, creditBytes: 1000 }),
  },
  {
    operation: Operation.Credit,
    needs: undefined,
    frame: () => encodeCredit({ subscriptionId: 9, creditBytes: 1 }),
  },
  { operation: Operation.Unsubscribe, needs: undefined, frame: () => encodeUnsubscribe(9) },
  {
    operation: Operation.CommandExports,
    needs: "manage",
    frame: (name) => {
      const request = { requestId: 1, name, document: '{"command":"retry"}' };
      return encodeStreamDocumentRequest(Operation.CommandExports, request);
    },
  },
  ...([Operation.DescribeStream, Operation.ConfigureStream, Operation.CreateStream] as const).map(
    (operation): Ask => ({
      operation,
      needs: operation === Operation.DescribeStream ? "any" : "manage",
      frame: (name) => encodeStreamDocumentRequest(operation, { ...document, name }),
    }),
  ),
];

/** Answers and pushes of the engine, what net answers itself, and no operation at all. */
const notAsked = /^(Unknown|Connect|Messages|.*(Response|Result|Error))$/;

function answerOf(frame: Buffer): { status: number; errorMessage: string } {
  switch (frame[0]) {
    case Operation.OpenStreamResult:
      return decodeOpenStreamResult(frame);
    case Operation.SubscribeResult:
      return decodeSubscribeResult(frame);
    case Operation.AppendBatchResult: {
      const answer = { status: -1, errorMessage: "" };
      decodeAppendBatchResult(frame, (_, status, _first, text) => {
        answer.status = status;
        answer.errorMessage = text;
      });
      return answer;
    }
    case Operation.DescribeStreamResult:
    case Operation.ConfigureStreamResult:
    case Operation.CreateStreamResult:
    case Operation.CommandExportsResult:
      return decodeStreamDocumentResult(frame);
    default:
      return officialDecoders[frame[0]!]!(frame) as Reply;
  }
}

test("every operation that a client may ask for says which right it needs", () => {
  const asked = Object.entries(Operation).filter(([name]) => !notAsked.test(name));
  assert.deepEqual(
    asks.map(({ operation }) => operation).sort((a, b) => a - b),
    asked.map(([, operation]) => operation).sort((a, b) => a - b),
  );
});

test("no operation is done without the right that it needs", { timeout: 30_000 }, async (t) => {
  const { engine } = await startTestEngine(t);
  const owner = new TestSession(engine);
  const definition = definitionOf("cam-1");
  await owner.request((id) => encodeCreateMessageStream({ requestId: id, definition }));
  const everything = { append: ["*"], read: ["*"], manage: ["*"] };
  for (const { operation, needs, frame } of asks) {
    if (needs === undefined) continue;
    // All but the needed right on all streams; and where any will do, none on this one.
    const some = needs === "any" ? { append: ["other"] } : { ...everything, [needs]: ["other"] };
    const client = session(engine, some);
    const handle = needs === "append" || needs === "read" ? await client.openStream("cam-1") : 0;
    client.frames.length = 0;
    engine.onFrame(client, frame("cam-1", handle));
    const { status, errorMessage } = answerOf(await client.nextFrame());
    assert.equal(status, StatusCode.Unauthorized, `operation ${operation}: ${errorMessage}`);
    assert.match(errorMessage, /^Token "camera" .* stream "cam-1"$/);
    // Not one word on whether there is such a stream.
    if (handle === 0 && needs !== "append" && needs !== "read") {
      engine.onFrame(client, frame("nothing", handle));
      const absent = answerOf(await client.nextFrame());
      assert.equal(absent.status, StatusCode.Unauthorized);
      assert.equal(absent.errorMessage, errorMessage.replace("cam-1", "nothing"));
    }
  }
  const untouched = await owner.describeStream("cam-1");
  assert.equal(untouched.storage.nextSequence, 0);
});

test("each operation is done with the right that it needs and no other", { timeout: 30_000 }, async (t) => {
  const { engine } = await startTestEngine(t);
  const owner = new TestSession(engine);
  for (const { operation, needs, frame } of asks) {
    if (needs === undefined) continue;
    const name = `cam-${operation}`;
    const isMade = operation === Operation.CreateStream || operation === Operation.CreateMessageStream;
    if (!isMade) {
      const definition = definitionOf(name);
      await owner.request((id) => encodeCreateMessageStream({ requestId: id, definition }));
      await owner.append(await owner.openStream(name), ["first"]);
    }
    for (const right of needs === "any" ? (["append", "read", "manage"] as const) : [needs]) {
      const client = session(engine, { [right]: ["cam-*"] });
      const handle = needs === "append" || needs === "read" ? await client.openStream(name) : 0;
      client.frames.length = 0;
      engine.onFrame(client, frame(name, handle));
      const { status, errorMessage } = answerOf(await client.nextFrame());
      assert.equal(status, StatusCode.Success, `operation ${operation} with ${right}: ${errorMessage}`);
    }
  }
});

test("ListStreams names what the client has a right on", { timeout: 30_000 }, async (t) => {
  const { engine } = await startTestEngine(t);
  const owner = new TestSession(engine);
  for (const name of ["cam-1", "cam-2", "mic", "secret"]) {
    const definition = definitionOf(name);
    await owner.request((id) => encodeCreateMessageStream({ requestId: id, definition }));
  }
  const listed = async (client: TestSession): Promise<readonly string[] | undefined> =>
    (await client.request<ListStreamsResponse>((id) => encodeListStreams({ requestId: id }))).streams;
  assert.deepEqual(await listed(session(engine, { append: ["cam-*"], manage: ["mic"] })), [
    "cam-1",
    "cam-2",
    "mic",
  ]);
  assert.deepEqual(await listed(session(engine, {})), []);
  assert.equal((await listed(owner))?.length, 4);
});
