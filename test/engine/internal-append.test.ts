import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { StrategyOnFull } from "../../src/core/stream-definition.ts";
import { appendInternally } from "../../src/engine/internal-append.ts";
import { encodeCreateMessageStream } from "../../src/wire/create-message-stream.ts";
import { checkStreamDefinition } from "../../src/wire/stream-definition-codec.ts";
import { startTestEngine, TestSession } from "./engine-fixture.ts";

const timeout = 60_000;

describe("appendInternally", () => {
  it("stores and counts a message like one of a client, in order with theirs", { timeout }, async (t) => {
    const { engine } = await startTestEngine(t);
    const session = new TestSession(engine);
    const definition = checkStreamDefinition({
      name: "status",
      strategyOnFull: StrategyOnFull.RejectNewData,
    });
    await session.request((requestId) => encodeCreateMessageStream({ requestId, definition }));
    assert.equal(await appendInternally(engine, "status", Buffer.from("ours")), 0);
    const theirs = await session.append(await session.openStream("status"), ["theirs"]);
    assert.equal(theirs.firstSequence, 1);
    assert.equal(await appendInternally(engine, "status", Buffer.from("ours too")), 2);
    const entry = engine.catalog.get("status");
    assert.equal(entry.appendedMessageCount, 3);
    assert.equal(entry.appendedBytes, "ours".length + "theirs".length + "ours too".length);
  });

  it("is refused as a client is: no such stream, full, too large", { timeout }, async (t) => {
    const { engine } = await startTestEngine(t);
    const session = new TestSession(engine);
    const definition = checkStreamDefinition({
      name: "small",
      strategyOnFull: StrategyOnFull.RejectNewData,
      maxSize: 1024,
      streamSegmentSize: 1024,
    });
    await session.request((requestId) => encodeCreateMessageStream({ requestId, definition }));
    await assert.rejects(appendInternally(engine, "none", Buffer.from("x")), { code: "STREAM_NOT_FOUND" });
    await appendInternally(engine, "small", Buffer.alloc(900));
    await assert.rejects(appendInternally(engine, "small", Buffer.alloc(900)), { code: "STREAM_FULL" });
    assert.equal(engine.catalog.get("small").refusedCount, 1);
    const tooLarge = Buffer.alloc(engine.messageBytesMax + 1);
    await assert.rejects(appendInternally(engine, "small", tooLarge), { code: "MESSAGE_TOO_LARGE" });
  });
});
