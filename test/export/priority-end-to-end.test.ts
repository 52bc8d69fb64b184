import assert from "node:assert/strict";
import { test, type TestContext } from "node:test";
import { setTimeout as after } from "node:timers/promises";
import type { ExporterOptions } from "../../src/core/exporter-options.ts";
import { streamOptionsDefault } from "../../src/core/stream-options.ts";
import type { ExportManager } from "../../src/export/export-manager.ts";
import { addsUp } from "../../src/export/live-account.ts";
import { ExportBench } from "../support/export-bench.ts";
import { definitionWith } from "../support/stream-fixture.ts";

const CAP_KBIT_PER_SECOND = 1000;
const CAP_BYTES_PER_SECOND = (CAP_KBIT_PER_SECOND * 1000) / 8;
/** By then the bucket, which was full and holds a second of the cap, is used up: everything later goes at the cap. */
const BURST_MS = 1500;
/** The delays after failures grow: one of them is as long. */
const QUIET_MS = 300;
/** How far the bandwidth, and a share, may be from what they are to be, either way. */
const TOLERANCE = 0.05;
const URGENT_MESSAGES = 640;
const BULK_MESSAGES = 170;

interface Arrival {
  readonly stream: string;
  readonly bodyBytes: number;
  readonly atMs: number;
}

/** Fills two streams while the endpoint is away, and sends them over a capped link when it is back. */
async function sendAfterOutage(t: TestContext, optionsOfBulk: ExporterOptions): Promise<Arrival[]> {
  const bench = await ExportBench.start(t);
  const arrivals: Arrival[] = [];
  bench.server.answer = ({ streamName: stream, bodyBytes }) => {
    arrivals.push({ stream, bodyBytes, atMs: performance.now() });
    return { kind: "accept" };
  };
  const manager = bench.manager({ kbitPerSecondMax: CAP_KBIT_PER_SECOND, threadsMax: 1 });
  const bulkConfig = { identifier: "bulk", kinesisStreamName: "bulk", priority: 10, batchSize: 10 };
  const urgentConfig = { identifier: "urgent", kinesisStreamName: "urgent", priority: 1, batchSize: 10 };
  const bulk = bench.addStream(manager, "bulk", [bulkConfig]);
  const urgent = bench.addStream(manager, "urgent", [urgentConfig]);
  const options = { ...streamOptionsDefault, exporters: { bulk: optionsOfBulk } };
  manager.updateStream("bulk", definitionWith([bulkConfig], { name: "bulk" }), options);
  // The thread has all it needs before it counts.
  manager.onProgress("bulk", await bulk.append(["first"]));
  await manager.idle();
  arrivals.length = 0;
  await bench.server.close();
  manager.onProgress("bulk", await bulk.append(payloads(BULK_MESSAGES)));
  manager.onProgress("urgent", await urgent.append(payloads(URGENT_MESSAGES)));
  await untilBothWait(manager);
  assert.deepEqual(arrivals, []);
  assert.match(manager.states("urgent")[0]?.lastError?.text ?? "", /ECONNREFUSED/);
  await bench.server.listen();
  assert.deepEqual(manager.retry("urgent"), ["urgent"]);
  await manager.idle();
  const ledgers = manager.snapshot();
  assert.equal(ledgers.length, 2);
  for (const ledger of ledgers) {
    assert.ok(addsUp(ledger), JSON.stringify(ledger));
    const messages = ledger.streamName === "bulk" ? 1 + BULK_MESSAGES : URGENT_MESSAGES;
    assert.equal(ledger.accounts.exported.messages, messages);
  }
  assert.deepEqual(bench.server.storedIn("urgent"), payloads(URGENT_MESSAGES));
  assert.deepEqual(bench.server.storedIn("bulk"), ["first", ...payloads(BULK_MESSAGES)]);
  return arrivals;
}

/** Both have failed, and nothing of them is on its way or will be for a while. */
async function untilBothWait(manager: ExportManager): Promise<void> {
  const deadlineMs = Date.now() + 30_000;
  const isWaiting = (name: string): boolean => {
    const [state] = manager.states(name);
    return state?.state === "backoff" && (state.nextTryTimeMs ?? 0) > Date.now() + QUIET_MS;
  };
  while (!isWaiting("bulk") || !isWaiting("urgent")) {
    assert.ok(Date.now() < deadlineMs, JSON.stringify(manager.allStates()));
    await after(5);
  }
}

function payloads(count: number): string[] {
  return Array.from({ length: count }, (_, index) => `message ${index} `.padEnd(1000, "."));
}

function bytesOf(arrivals: readonly Arrival[]): number {
  return arrivals.reduce((sum, { bodyBytes }) => sum + bodyBytes, 0);
}

/**
 * Over the whole capped phase, by the endpoint's own clock: the slope of all that has arrived over the time of each arrival. A
 * request that comes late on a busy machine weighs little in it, bandwidth that is never used or used twice weighs in full.
 */
function assertCapped(t: TestContext, arrivals: readonly Arrival[]): void {
  const [first] = arrivals;
  let bytes = 0;
  const points = arrivals.flatMap(({ bodyBytes, atMs }) => {
    bytes += bodyBytes;
    return atMs - first!.atMs < BURST_MS ? [] : [{ seconds: atMs / 1000, bytes }];
  });
  const seconds = points.at(-1)!.seconds - points[0]!.seconds;
  assert.ok(seconds > 4, `a capped phase of ${seconds} s`);
  const part = slopeOf(points) / CAP_BYTES_PER_SECOND;
  t.diagnostic(`${(100 * part).toFixed(1)} % of the cap over ${seconds.toFixed(1)} s`);
  assert.ok(Math.abs(part - 1) < TOLERANCE, `${(100 * part).toFixed(1)} % of the cap`);
}

/** Of the line through the points with the least squares. */
function slopeOf(points: readonly { readonly seconds: number; readonly bytes: number }[]): number {
  const meanOf = (values: readonly number[]): number =>
    values.reduce((sum, value) => sum + value, 0) / values.length;
  const seconds = meanOf(points.map((point) => point.seconds));
  const bytes = meanOf(points.map((point) => point.bytes));
  const covariance = meanOf(points.map((point) => (point.seconds - seconds) * (point.bytes - bytes)));
  return covariance / meanOf(points.map((point) => (point.seconds - seconds) ** 2));
}

test("after an outage priority 1 arrives before priority 10 begins, at the capped bandwidth", async (t) => {
  const arrivals = await sendAfterOutage(t, {});
  const order = arrivals.map(({ stream }) => stream);
  const urgentCount = order.filter((stream) => stream === "urgent").length;
  // The last batch of the better one may be in flight when the worse one begins.
  assert.deepEqual(order.slice(0, urgentCount - 1), Array(urgentCount - 1).fill("urgent"));
  assertCapped(t, arrivals);
});

test("with a minimum share of 20 % priority 10 gets 20 % of the bytes while priority 1 has data", async (t) => {
  const arrivals = await sendAfterOutage(t, { minSharePercent: 20 });
  const lastUrgent = arrivals.findLastIndex(({ stream }) => stream === "urgent");
  const isBulk = ({ stream }: Arrival): boolean => stream === "bulk";
  // Whole rounds, from behind one request of it to another: a request more or less would be six percent of it.
  const together = arrivals.slice(0, lastUrgent + 1);
  const rounds = together.slice(together.findIndex(isBulk) + 1, together.findLastIndex(isBulk) + 1);
  assert.ok(rounds.length > together.length * 0.85, `${rounds.length} of ${together.length} requests`);
  const share = bytesOf(rounds.filter(isBulk)) / bytesOf(rounds);
  t.diagnostic(`a share of ${(100 * share).toFixed(2)} %`);
  assert.ok(Math.abs(share / 0.2 - 1) < TOLERANCE, `${(100 * share).toFixed(2)} %`);
  assertCapped(t, arrivals);
});
