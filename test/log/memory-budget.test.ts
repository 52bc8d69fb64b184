import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { MillraceError } from "../../src/core/errors.ts";
import { MEMORY_CHUNK_BYTES_MIN } from "../../src/core/limits.ts";
import { StrategyOnFull } from "../../src/core/stream-definition.ts";
import type { LogPolicy } from "../../src/log/log-policy.ts";
import { MemoryBudget } from "../../src/log/memory-budget.ts";
import { SharedMemoryStorage } from "../../src/log/shared-memory-storage.ts";
import { StreamLog } from "../../src/log/stream-log.ts";
import { KeptMemory } from "../support/kept-memory.ts";
import { blockOf, costOf, logOptions, readAll, smallPolicy } from "../support/log-fixture.ts";

const BUDGET_BYTES = 16 * MEMORY_CHUNK_BYTES_MIN;
const { RejectNewData, OverwriteOldestData } = StrategyOnFull;

function policyFor(strategyOnFull: StrategyOnFull): LogPolicy {
  return { ...smallPolicy, maxSize: 50_000_000, segmentSize: 60_000, commitAlignBytes: 0, strategyOnFull };
}

/** A message that does not compress. */
function append(log: StreamLog): void {
  const noise = Array.from({ length: 4000 }, (_, at) => Math.imul(at + log.nextSequence, 2654435761) >>> 24);
  const block = blockOf([Buffer.from(noise).toString("hex")]);
  log.admit(costOf(block));
  log.append(block);
}

function fill(log: StreamLog): MillraceError {
  for (let count = 0; count < 2000; count++) {
    try {
      append(log);
    } catch (error) {
      assert.ok(error instanceof MillraceError);
      return error;
    }
  }
  throw new Error("nothing was refused");
}

describe("MemoryBudget", () => {
  it("is one for all threads, and gets back what is given", () => {
    const budget = MemoryBudget.forThreads(4 * MEMORY_CHUNK_BYTES_MIN, 2);
    // As another thread sees it.
    const [one, two] = [budget.share(0), new MemoryBudget(budget.bytesMax, budget.memory).share(1)];
    one.take(MEMORY_CHUNK_BYTES_MIN);
    two.take(3 * MEMORY_CHUNK_BYTES_MIN);
    assert.equal(one.freeBytes, 0);
    const text = /take 262144 of 262144 bytes together \(MILLRACE_MEMORY_STREAM_BYTES_MAX\)/;
    assert.throws(() => one.take(MEMORY_CHUNK_BYTES_MIN), { code: "ENOSPC", message: text });
    two.give(2 * MEMORY_CHUNK_BYTES_MIN);
    one.take(2 * MEMORY_CHUNK_BYTES_MIN);
    assert.equal(budget.usedBytes, 4 * MEMORY_CHUNK_BYTES_MIN);
    budget.set(0, 5 * MEMORY_CHUNK_BYTES_MIN);
    assert.equal(two.freeBytes, -2 * MEMORY_CHUNK_BYTES_MIN);
  });

  it("counts what a storage allocates, and neither what it takes over nor what it has replaced or unlinked", () => {
    const budget = MemoryBudget.forThreads(BUDGET_BYTES, 1);
    const kept = new KeptMemory();
    const storage = new SharedMemoryStorage({ budget: budget.share(0), hooks: kept.hooks });
    storage.makeDirectory("/stream");
    for (const name of ["/stream/a", "/stream/b", "/stream/c"])
      storage.open(name, "create").write([Buffer.alloc(1000)], 0);
    assert.equal(budget.usedBytes, 3 * MEMORY_CHUNK_BYTES_MIN);
    const successor = new SharedMemoryStorage({ files: kept.files, budget: budget.share(0) });
    assert.equal(budget.usedBytes, 3 * MEMORY_CHUNK_BYTES_MIN);
    successor.rename("/stream/a", "/stream/b");
    assert.equal(budget.usedBytes, 2 * MEMORY_CHUNK_BYTES_MIN);
    successor.unlink("/stream/b");
    successor.rename("/stream", "/gone");
    successor.unlink("/gone/c");
    assert.equal(budget.usedBytes, 0);
  });

  it("makes a rejecting stream refuse, and say why, until another gives something back", () => {
    const budget = MemoryBudget.forThreads(BUDGET_BYTES, 2);
    const [log, other] = [0, 1].map((index) => {
      const storage = new SharedMemoryStorage({ budget: budget.share(index) });
      storage.makeDirectory("/store");
      return StreamLog.create(logOptions(storage, { policy: policyFor(RejectNewData) }));
    });
    for (let count = 0; count < 10; count++) append(other!);
    const { code, message } = fill(log!);
    assert.equal(code, "STREAM_FULL");
    assert.match(
      message,
      /the stream is full, streams in memory take \d+ of 1048576 bytes together \(MILLRACE_MEMORY_STREAM/,
    );
    assert.ok(budget.usedBytes <= BUDGET_BYTES);
    assert.equal(log!.state, "ok");
    assert.equal(readAll(log!, 0, log!.nextSequence).messages.size, log!.nextSequence);
    other!.destroy();
    append(log!);
    assert.equal(log!.oldestSequence, 0);
  });

  it("makes an overwriting stream drop its own oldest messages, and nobody else's", () => {
    const budget = MemoryBudget.forThreads(BUDGET_BYTES, 2);
    const make = (index: number, strategyOnFull: StrategyOnFull): StreamLog => {
      const storage = new SharedMemoryStorage({ budget: budget.share(index) });
      storage.makeDirectory("/store");
      return StreamLog.create(logOptions(storage, { policy: policyFor(strategyOnFull) }));
    };
    const [kept, newest] = [make(0, RejectNewData), make(1, OverwriteOldestData)];
    for (let count = 0; count < 20; count++) append(kept);
    for (let count = 0; count < 500; count++) append(newest);
    assert.equal(newest.nextSequence, 500);
    assert.ok(newest.oldestSequence > 300, `from ${newest.oldestSequence} on`);
    assert.equal(newest.ledger.snapshot.accounts.overwritten.messages, newest.oldestSequence);
    assert.equal(kept.oldestSequence, 0);
    assert.ok(budget.usedBytes <= BUDGET_BYTES, `${budget.usedBytes} bytes`);
  });
});
