import assert from "node:assert/strict";
import { test } from "node:test";
import { EXPORT_CAP_BATCH_MS } from "../../src/core/limits.ts";
import { addsUp } from "../../src/export/live-account.ts";
import { LinkSimulation, type LinkOptions, type SimRequest } from "./link-simulation.ts";

/** Two links with round trips of 2 s, as over a satellite: one of 50 kbit/s and one of 5 Mbit/s. */
const SLOW: LinkOptions = { kbitPerSecond: 50, roundTripMs: 2000, slots: 5 };
const LONG: LinkOptions = { kbitPerSecond: 5000, roundTripMs: 2000, slots: 5 };
const PLENTY = 100_000_000;

function bytesOf(requests: readonly SimRequest[]): number {
  return requests.reduce((sum, { bodyBytes }) => sum + bodyBytes, 0);
}

/** Of request bodies, in percent of all. */
function shareOf(exporter: string, requests: readonly SimRequest[]): number {
  return (100 * bytesOf(requests.filter((request) => request.exporter === exporter))) / bytesOf(requests);
}

/** In percent of what the link carries. */
function linkUse({ requests, nowMs }: LinkSimulation, { kbitPerSecond }: LinkOptions): number {
  const arrived = requests.filter(({ arrivedMs }) => arrivedMs <= nowMs);
  return (100 * 8 * bytesOf(arrived)) / (kbitPerSecond * nowMs);
}

interface Waits {
  readonly meanMs: number;
  readonly maxMs: number;
}

/** Five exporters always have data; again and again one message of the best priority arrives. How long until it is sent? */
async function waitsOfTheBest(link: LinkOptions, batchSize: number, inFlightMax = 1): Promise<Waits> {
  const simulation = new LinkSimulation(link);
  simulation.addStream("best", { priority: 1 });
  for (const name of ["a", "b", "c", "d", "e"]) {
    simulation.addStream(name, { priority: 5, batchSize }, { inFlightMax });
    simulation.fill(name, PLENTY);
  }
  const waits: number[] = [];
  // Five of their batches, and an answer.
  const cycleMs = (8 * 5 * inFlightMax * batchSize * 226) / link.kbitPerSecond + link.roundTripMs;
  for (let round = 0; round < 50; round += 1) {
    await simulation.pass(cycleMs * (1 + simulation.random.fraction()));
    const filledMs = simulation.nowMs;
    const before = simulation.requests.length;
    const underWay = simulation.requests.filter(({ leftBytes }) => leftBytes > 0);
    const leftBytes = underWay.reduce((sum, request) => sum + request.leftBytes, 0);
    simulation.fill("best", 1);
    await simulation.pass(2 * cycleMs);
    const sent = simulation.requests.slice(before);
    const best = sent.find(({ exporter }) => exporter === "best");
    assert.ok(best !== undefined, "it was sent");
    // Nothing starts before it but what has: it waits for a batch in flight to be through and answered, at most.
    assert.equal(sent[0], best);
    const waitMs = best.startMs - filledMs;
    const boundMs = (8 * leftBytes) / link.kbitPerSecond + link.roundTripMs + 1;
    assert.ok(waitMs <= boundMs, `${waitMs} ms, and ${boundMs} is what was in flight`);
    waits.push(waitMs);
  }
  const meanMs = waits.reduce((sum, wait) => sum + wait, 0) / waits.length;
  return { meanMs, maxMs: Math.max(...waits) };
}

test("the best priority waits for one of the batches in flight, on a slow link as long as they are large", async (t) => {
  for (const { name, link, batchSize, maxMs } of [
    { name: "50 kbit/s, batches of 500", link: SLOW, batchSize: 500, maxMs: 93_000 },
    { name: "50 kbit/s, batches of 50", link: SLOW, batchSize: 50, maxMs: 11_100 },
    { name: "5 Mbit/s, batches of 500", link: LONG, batchSize: 500, maxMs: 3000 },
  ]) {
    const waits = await waitsOfTheBest(link, batchSize);
    t.diagnostic(`${name}: ${waits.meanMs.toFixed()} ms on average, ${waits.maxMs.toFixed()} ms at most`);
    assert.ok(waits.maxMs <= maxMs, `${name}: ${waits.maxMs}`);
  }
});

test("minimum shares hold within 5 % of themselves although better priorities always have data", async (t) => {
  for (const { name, link, hours } of [
    { name: "50 kbit/s", link: SLOW, hours: 4 },
    { name: "5 Mbit/s", link: LONG, hours: 0.5 },
  ]) {
    const simulation = new LinkSimulation(link);
    simulation.addStream("best", { priority: 1 });
    simulation.addStream("none", { priority: 2 });
    simulation.addStream("ten", { priority: 9, messageBytes: 40 }, { minSharePercent: 10 });
    simulation.addStream("twenty", { priority: 10, messageBytes: 700 }, { minSharePercent: 20 });
    for (const stream of ["best", "none", "ten", "twenty"]) simulation.fill(stream, PLENTY);
    await simulation.pass(hours * 3_600_000);
    const { requests } = simulation;
    const shares = ["best", "none", "ten", "twenty"].map((exporter) => shareOf(exporter, requests));
    t.diagnostic(
      `${name}: best, none, 10 %, 20 % got ${shares.map((share) => share.toFixed(1)).join(", ")} %`,
    );
    assert.equal(shares[1], 0, "without a share nothing of a worse priority starts");
    assert.ok(Math.abs(shares[2]! / 10 - 1) < 0.05, `${shares[2]} % of 10 %`);
    assert.ok(Math.abs(shares[3]! / 20 - 1) < 0.05, `${shares[3]} % of 20 %`);
  }
});

/** Over any time: the bytes sent are those of the cap, and `batchBytes` more at most. */
function assertCapped(requests: readonly SimRequest[], kbitPerSecond: number, batchBytes: number): void {
  for (const [first, { startMs }] of requests.entries()) {
    let bytes = 0;
    for (const request of requests.slice(first, first + 50)) {
      bytes += request.bodyBytes;
      const allowed = ((request.startMs - startMs) * kbitPerSecond) / 8 + batchBytes;
      assert.ok(
        bytes <= allowed,
        `${bytes} bytes from ${startMs} to ${request.startMs}, ${allowed} are allowed`,
      );
    }
  }
}

test("bandwidth caps are never exceeded by more than a batch, and their average is used up", async (t) => {
  const cap = 400;
  const own = 100;
  const simulation = new LinkSimulation({ ...LONG, roundTripMs: 200, kbitPerSecondMax: cap });
  simulation.addStream("own", { priority: 1 }, { kbitPerSecondMax: own });
  simulation.addStream("rest", { priority: 2 });
  simulation.addStream("last", { priority: 3, messageBytes: 30_000 });
  for (const stream of ["own", "rest", "last"]) simulation.fill(stream, PLENTY);
  const seconds = 600;
  await simulation.pass(1000 * seconds);
  const { requests } = simulation;
  assertCapped(requests, cap, (cap / 8) * EXPORT_CAP_BATCH_MS);
  const ofOwn = requests.filter(({ exporter }) => exporter === "own");
  assertCapped(ofOwn, own, (own / 8) * EXPORT_CAP_BATCH_MS);
  const kbit = (some: readonly SimRequest[]): number => (8 * bytesOf(some)) / 1000 / seconds;
  t.diagnostic(`${kbit(requests).toFixed(1)} of ${cap} kbit/s, ${kbit(ofOwn).toFixed(1)} of ${own} kbit/s`);
  assert.ok(Math.abs(kbit(requests) / cap - 1) < 0.05, `${kbit(requests)} kbit/s`);
  assert.ok(Math.abs(kbit(ofOwn) / own - 1) < 0.05, `${kbit(ofOwn)} kbit/s`);
  for (const { bodyBytes } of requests) assert.ok(bodyBytes <= (cap / 8) * EXPORT_CAP_BATCH_MS);
  // Within any ten seconds too.
  for (let fromMs = 10_000; fromMs < 1000 * seconds - 10_000; fromMs += 3333) {
    const some = requests.filter(({ startMs }) => startMs >= fromMs && startMs < fromMs + 10_000);
    const used = (8 * bytesOf(some)) / 10_000 / cap;
    assert.ok(Math.abs(used - 1) <= 0.1, `${used} of the cap in ten seconds`);
  }
});

test("a message longer than a second of the cap goes alone, and is paid back", async () => {
  const simulation = new LinkSimulation({ ...LONG, roundTripMs: 100, kbitPerSecondMax: 8 });
  simulation.addStream("large", { messageBytes: 20_000 });
  simulation.fill("large", 1000);
  await simulation.pass(3_600_000);
  const { requests } = simulation;
  assert.deepEqual(new Set(requests.map(({ messages }) => messages)), new Set([1]));
  assertCapped(requests, 8, 20_066);
  assert.ok(Math.abs((8 * bytesOf(requests)) / 3_600_000 / 8 - 1) < 0.05);
});

test("more requests in flight fill a long link, at the price of order and of the best one's wait", async (t) => {
  const uses: number[] = [];
  for (const inFlightMax of [1, 2, 4, 8]) {
    const link = { ...LONG, jitterMs: 200 };
    const simulation = new LinkSimulation(link);
    simulation.addStream("only", { priority: 1 }, { inFlightMax });
    simulation.fill("only", PLENTY);
    await simulation.pass(3_600_000);
    const use = linkUse(simulation, link);
    const { requests } = simulation;
    let newestMs = 0;
    let overtaken = 0;
    for (const { arrivedMs } of requests) {
      if (arrivedMs < newestMs) overtaken += 1;
      newestMs = Math.max(newestMs, arrivedMs);
    }
    const early = (100 * overtaken) / requests.length;
    const slow = await waitsOfTheBest(SLOW, 50, inFlightMax);
    t.diagnostic(
      `${inFlightMax}: link use ${use.toFixed(1)} %, ${early.toFixed()} % of the requests after a later one, ` +
        `the best waits up to ${(slow.maxMs / 1000).toFixed(1)} s at 50 kbit/s`,
    );
    uses.push(use);
    if (inFlightMax === 1) assert.equal(overtaken, 0, "in order");
    else assert.ok(overtaken > 0);
  }
  const [one = 0, two = 0, four = 0, eight = 0] = uses;
  assert.ok(one > 6 && one < 9, `${one} %`);
  assert.ok(two > 1.8 * one && four > 1.7 * two && eight > 1.5 * four, uses.join());
});

test("the account adds up whoever sends when", async () => {
  const simulation = new LinkSimulation({ ...LONG, kbitPerSecondMax: 1000 });
  for (const [index, name] of ["a", "b", "c", "d", "e", "f", "g"].entries()) {
    simulation.addStream(name, { priority: 1 + index, batchSize: 100 }, { minSharePercent: 20 });
    simulation.fill(name, 10_000);
  }
  for (let minute = 0; minute < 5; minute += 1) {
    await simulation.pass(60_000);
    for (const ledger of simulation.manager.snapshot()) assert.ok(addsUp(ledger), JSON.stringify(ledger));
  }
  await simulation.pass(3_600_000);
  for (const { accounts, pending } of simulation.manager.snapshot()) {
    assert.deepEqual([accounts.exported.messages, pending.messages], [10_000, 0]);
  }
});
