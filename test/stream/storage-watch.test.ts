import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { STORAGE_DEGRADED_MS, STORAGE_HUNG_MS, STORAGE_SLOW_MS } from "../../src/core/limits.ts";
import { MillraceError } from "../../src/core/errors.ts";
import { PendingRequests } from "../../src/stream/pending-requests.ts";
import { StorageDelay, StorageWatch } from "../../src/stream/storage-watch.ts";

describe("StorageWatch", () => {
  it("tells each step once, on the way up and on the way back", () => {
    const told: (readonly [StorageDelay, number])[] = [];
    const watch = new StorageWatch((delay, waitedMs) => told.push([delay, waitedMs]));
    const waits = [
      0,
      999,
      STORAGE_SLOW_MS,
      5000,
      STORAGE_DEGRADED_MS,
      44_999,
      STORAGE_HUNG_MS,
      100_000,
      12_000,
      0,
      0,
    ];
    for (const waitedMs of waits) watch.observe(waitedMs);
    assert.deepEqual(told, [
      [StorageDelay.Slow, 1000],
      [StorageDelay.Degraded, 10_000],
      [StorageDelay.Hung, 45_000],
      [StorageDelay.Degraded, 12_000],
      [StorageDelay.None, 0],
    ]);
  });
});

describe("PendingRequests", () => {
  it("knows how long its worker keeps it waiting, also for what was answered otherwise meanwhile", () => {
    const pending = new PendingRequests();
    const failures: string[] = [];
    const request = (askedMs: number) => ({
      askedMs,
      onFailed: (error: MillraceError) => failures.push(error.code),
    });
    assert.equal(pending.oldestAskedMs, undefined);
    pending.add({ onFailed: () => undefined });
    const first = pending.add(request(100));
    const second = pending.add(request(200));
    assert.equal(pending.oldestAskedMs, 100);
    const error = new MillraceError("UNKNOWN_OUTCOME", "too late");
    pending.expire(150, error);
    pending.expire(150, error);
    assert.deepEqual(failures, ["UNKNOWN_OUTCOME"]);
    assert.equal(pending.oldestAskedMs, 100);
    pending.take(first);
    assert.equal(pending.oldestAskedMs, 200);
    pending.abandon(second);
    assert.equal(pending.oldestAskedMs, 200);
    pending.take(second);
    assert.equal(pending.oldestAskedMs, undefined);
  });
});
