import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { StatusCode } from "../../src/core/status-code.ts";
import { Persistence, StrategyOnFull } from "../../src/core/stream-definition.ts";
import type { Engine } from "../../src/engine/engine.ts";
import { encodeCreateMessageStream } from "../../src/wire/create-message-stream.ts";
import { encodeDeleteMessageStream } from "../../src/wire/delete-message-stream.ts";
import type { Reply } from "../../src/wire/reply.ts";
import { checkStreamDefinition } from "../../src/wire/stream-definition-codec.ts";
import { type AppendAnswer, startTestEngine, TestSession } from "./engine-fixture.ts";

const KIB = 1024;
const BUDGET_BYTES = 4096 * KIB;

function create(session: TestSession, name: string, strategyOnFull: StrategyOnFull): Promise<Reply> {
  const sizes = { maxSize: 64 * 1024 * KIB, streamSegmentSize: 256 * KIB };
  const definition = checkStreamDefinition({
    name,
    strategyOnFull,
    persistence: Persistence.Memory,
    ...sizes,
  });
  return session.request((requestId) => encodeCreateMessageStream({ requestId, definition }));
}

function remove(session: TestSession, name: string): Promise<Reply> {
  return session.request((requestId) => encodeDeleteMessageStream({ requestId, name }));
}

/** 32 KiB that do not compress. */
function noise(): string {
  return Buffer.from(crypto.getRandomValues(new Uint8Array(32 * KIB))).toString("latin1");
}

async function fill(session: TestSession, handle: number): Promise<{ taken: number; refusal: AppendAnswer }> {
  for (let taken = 0; taken < 2000; taken++) {
    const answer = await session.append(handle, [noise()]);
    if (answer.status !== 0) return { taken, refusal: answer };
  }
  throw new Error("nothing was refused");
}

const usedBytes = (engine: Engine): number => engine.workers.memoryFigures.usedBytes;

describe("the budget of streams in memory", () => {
  it("is shared by two workers, and free again when a stream is deleted", { timeout: 60_000 }, async (t) => {
    const options = { workerCountMax: 2, memoryStreamBytesMax: BUDGET_BYTES };
    const { engine, workers } = await startTestEngine(t, options);
    const session = new TestSession(engine);
    for (const name of ["one", "two"])
      assert.equal((await create(session, name, StrategyOnFull.RejectNewData)).status, 0);
    assert.equal((await create(session, "newest", StrategyOnFull.OverwriteOldestData)).status, 0);
    const [one, two, newest] = await Promise.all(
      ["one", "two", "newest"].map((name) => session.openStream(name)),
    );
    for (let count = 0; count < 20; count++)
      assert.equal((await session.append(newest!, [noise()])).status, 0);
    const first = await fill(session, one!);
    assert.equal(first.refusal.status, StatusCode.StreamFull);
    assert.match(first.refusal.text, /is full, streams in memory take \d+ of 4194304 bytes together/);
    assert.match(first.refusal.text, /MILLRACE_MEMORY_STREAM_BYTES_MAX/);
    assert.equal(workers.length, 2);
    // The other worker's stream finds it full as well; the overwriting one lives on what is its own.
    const second = await fill(session, two!);
    assert.ok(second.taken < 4, `${second.taken} more were taken`);
    for (let count = 0; count < 100; count++)
      assert.equal((await session.append(newest!, [noise()])).status, 0);
    const used = usedBytes(engine);
    assert.ok(used <= BUDGET_BYTES && used > BUDGET_BYTES / 2, `${used} bytes`);
    assert.equal((await remove(session, "one")).status, 0);
    const after = await fill(session, two!);
    assert.ok(after.taken > first.taken / 2, `${after.taken} of ${first.taken} taken`);
    for (const name of ["two", "newest"]) assert.equal((await remove(session, name)).status, 0);
    assert.equal(usedBytes(engine), 0);
  });

  it("counts what a dead worker left, once", { timeout: 60_000 }, async (t) => {
    const options = { workerCountMax: 2, memoryStreamBytesMax: BUDGET_BYTES };
    const { engine, workers, nextWorker } = await startTestEngine(t, options);
    const session = new TestSession(engine);
    for (const name of ["one", "two"])
      assert.equal((await create(session, name, StrategyOnFull.RejectNewData)).status, 0);
    const [one, two] = [await session.openStream("one"), await session.openStream("two")];
    for (let count = 0; count < 15; count++) {
      assert.equal((await session.append(one, [noise()])).status, 0);
      assert.equal((await session.append(two, [noise()])).status, 0);
    }
    const before = usedBytes(engine);
    for (let death = 0; death < 3; death++) {
      const successor = nextWorker();
      await workers.at(death === 0 ? 0 : -1)!.terminate();
      await successor;
      assert.equal(usedBytes(engine), before, `after death ${death}`);
    }
    const again = await fillWhenBack(session, one);
    assert.ok(usedBytes(engine) <= BUDGET_BYTES && again.taken > 10, `${again.taken} taken`);
    for (const name of ["one", "two"]) assert.equal((await remove(session, name)).status, 0);
    assert.equal(usedBytes(engine), 0);
  });

  it(
    "refuses a new stream its first message where there is no room, and takes nothing for it",
    { timeout: 60_000 },
    async (t) => {
      const { engine } = await startTestEngine(t, { memoryStreamBytesMax: 1024 * KIB });
      const session = new TestSession(engine);
      assert.equal((await create(session, "one", StrategyOnFull.RejectNewData)).status, 0);
      const handle = await session.openStream("one");
      await fill(session, handle);
      const used = usedBytes(engine);
      assert.ok(used > 512 * KIB);
      for (let tries = 0; tries < 10; tries++) {
        const name = `more ${tries}`;
        assert.equal((await create(session, name, StrategyOnFull.OverwriteOldestData)).status, 0);
        const answers = [await fill(session, await session.openStream(name)), await fill(session, handle)];
        for (const { refusal } of answers) assert.match(refusal.text, /MILLRACE_MEMORY_STREAM_BYTES_MAX/);
        assert.equal((await remove(session, name)).status, 0);
        assert.ok(usedBytes(engine) <= used, `${usedBytes(engine)} bytes, ${used} before`);
      }
    },
  );
});

/** Between a worker's death and its successor's first answer an append is refused as busy. */
async function fillWhenBack(session: TestSession, handle: number): Promise<{ taken: number }> {
  for (let tries = 0; tries < 1000; tries++) {
    const result = await fill(session, handle);
    if (result.refusal.status !== StatusCode.ServerBusy) return result;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  throw new Error("the worker did not come back");
}
