import assert from "node:assert/strict";
import { test, type TestContext } from "node:test";
import type { ExporterOptions } from "../../src/core/exporter-options.ts";
import { streamOptionsDefault } from "../../src/core/stream-options.ts";
import { addsUp } from "../../src/export/live-account.ts";
import { ExportBench } from "../support/export-bench.ts";
import { definitionWith } from "../support/stream-fixture.ts";

const CAP_KBIT_PER_SECOND = 2000;
const CAP_BYTES_PER_SECOND = (CAP_KBIT_PER_SECOND * 1000) / 8;
/** What a bucket holds when it is full: a second of the cap. */
const BUCKET_BYTES = CAP_BYTES_PER_SECOND;
const URGENT_MESSAGES = 1000;
const BULK_MESSAGES = 260;

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
  let tell: () => void = () => undefined;
  const failed = new Promise<void>((resolve) => (tell = resolve));
  const manager = bench.manager({
    kbitPerSecondMax: CAP_KBIT_PER_SECOND,
    threadsMax: 1,
    onStatusChange: () => {
      const [state, better] = [...manager.states("bulk"), ...manager.states("urgent")];
      // Nothing of the worse one is on its way any more.
      if (state?.state === "backoff" && better?.lastError !== undefined) tell();
    },
  });
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
  await failed;
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

function payloads(count: number): string[] {
  return Array.from({ length: count }, (_, index) => `message ${index} `.padEnd(1000, "."));
}

function bytesOf(arrivals: readonly Arrival[]): number {
  return arrivals.reduce((sum, { bodyBytes }) => sum + bodyBytes, 0);
}

/** On average, leaving out what the bucket held at first. A machine that is busy with other things may leave some of it unused. */
function assertCapped(t: TestContext, arrivals: readonly Arrival[]): void {
  const seconds = (arrivals.at(-1)!.atMs - arrivals[0]!.atMs) / 1000;
  const part = (bytesOf(arrivals) - BUCKET_BYTES) / seconds / CAP_BYTES_PER_SECOND;
  t.diagnostic(`${(100 * part).toFixed(1)} % of the cap over ${seconds.toFixed(1)} s`);
  assert.ok(part < 1.05 && part > 0.75, `${(100 * part).toFixed(1)} % of the cap`);
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
  const together = arrivals.slice(0, lastUrgent + 1);
  const share = bytesOf(together.filter(({ stream }) => stream === "bulk")) / bytesOf(together);
  t.diagnostic(`a share of ${(100 * share).toFixed(2)} %`);
  assert.ok(Math.abs(share / 0.2 - 1) < 0.05, `${(100 * share).toFixed(2)} %`);
  assertCapped(t, arrivals);
});
