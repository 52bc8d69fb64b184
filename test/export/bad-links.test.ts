import assert from "node:assert/strict";
import { test } from "node:test";
import { EXPORT_BACKOFF_MS_MAX } from "../../src/core/limits.ts";
import type { SendFailure } from "../../src/export/destinations/destination.ts";
import { addsUp } from "../../src/export/live-account.ts";
import { LinkSimulation } from "./link-simulation.ts";

const link = { kbitPerSecond: 5000, roundTripMs: 100 };
const HOUR_MS = 3_600_000;
const offline: SendFailure = {
  kind: "failed",
  scope: "endpoint",
  pace: "backoff",
  timedOut: false,
  error: "connect ECONNREFUSED",
};

/** Exporters of one endpoint, each with something to send. */
function withExporters(count: number): LinkSimulation {
  const simulation = new LinkSimulation(link);
  for (let index = 0; index < count; index += 1) {
    simulation.addStream(`s${index}`, { priority: 1 + (index % 10) });
    simulation.fill(`s${index}`, 700);
  }
  return simulation;
}

function pendingOf(simulation: LinkSimulation): number {
  return simulation.manager.snapshot().reduce((sum, { pending }) => sum + pending.messages, 0);
}

test("an endpoint that is away for a day is asked every few minutes, by one exporter for all, and all is sent after", async (t) => {
  const simulation = withExporters(10);
  simulation.outage = () => offline;
  const attemptsAtHour: number[] = [];
  let timers = 0;
  for (let hour = 0; hour < 24; hour += 1) {
    await simulation.pass(HOUR_MS);
    attemptsAtHour.push(simulation.attempts);
    timers = Math.max(timers, simulation.timerCount);
  }
  t.diagnostic(`${simulation.attempts} attempts in 24 hours`);
  // Half of five minutes on average, with full jitter; the first ones grow from a tenth of a second.
  assert.ok(simulation.attempts > 400 && simulation.attempts < 750, `${simulation.attempts} attempts`);
  for (const [hour, attempts] of attemptsAtHour.entries()) {
    const ofHour = attempts - (attemptsAtHour[hour - 1] ?? 0);
    assert.ok(ofHour >= 10 && ofHour < 70, `${ofHour} in hour ${hour}`);
  }
  assert.ok(timers <= 2, `${timers} timers at once`);
  assert.equal(pendingOf(simulation), 10 * 700);
  simulation.outage = undefined;
  await simulation.pass(EXPORT_BACKOFF_MS_MAX + 60_000);
  assert.equal(pendingOf(simulation), 0);
  for (const ledger of simulation.manager.snapshot()) assert.ok(addsUp(ledger));
});

test("wrong credentials are tried once a minute for ever, for the whole endpoint or for one exporter", async () => {
  for (const { scope, exporters } of [
    { scope: "endpoint", exporters: 1 },
    { scope: "exporter", exporters: 5 },
  ] as const) {
    const simulation = withExporters(5);
    simulation.outage = () => ({ ...offline, scope, pace: "slow", error: "ExpiredTokenException" });
    await simulation.pass(4 * HOUR_MS);
    const perHour = simulation.attempts / 4 / exporters;
    assert.ok(perHour > 55 && perHour <= 60, `${scope}: ${perHour} an hour`);
  }
});

test("endless throttling of the half of each request goes on without growing delays, and without a busy loop", async () => {
  const simulation = withExporters(1);
  simulation.fill("s0", 1_000_000);
  simulation.throttledPart = 0.5;
  const passedMs = HOUR_MS / 6;
  await simulation.pass(passedMs);
  const { accounts } = simulation.manager.snapshot()[0]!;
  // A round trip, a delay of a tenth of a second to two, and the half of a batch or of what was left of it.
  assert.ok(
    simulation.attempts > passedMs / 500 && simulation.attempts < passedMs / 150,
    `${simulation.attempts}`,
  );
  assert.ok(accounts.exported.messages > 50_000, `${accounts.exported.messages} messages`);
});

test("leaps of the wall clock move no delay, no interval and no cap", async () => {
  const runs = [0, -50 * 365 * 24 * HOUR_MS, 10 * 365 * 24 * HOUR_MS].map(async (leapMs) => {
    const simulation = new LinkSimulation({ ...link, kbitPerSecondMax: 100 });
    simulation.addStream("waits", { priority: 1, batchIntervalMillis: 60_000 });
    simulation.addStream("plenty", { priority: 2 });
    simulation.fill("plenty", 1_000_000);
    simulation.outage = ({ streamName }) =>
      streamName === "plenty" && simulation.nowMs < HOUR_MS / 2
        ? { ...offline, scope: "exporter" }
        : undefined;
    for (let minute = 0; minute < 60; minute += 1) {
      await simulation.pass(60_000);
      simulation.clock.setWall(Math.max(0, simulation.clock.nowMs() + (minute % 2 === 0 ? leapMs : -leapMs)));
      simulation.fill("waits", 1);
    }
    const { attempts, requests } = simulation;
    return { attempts, starts: requests.map(({ exporter, startMs }) => `${exporter} ${startMs}`) };
  });
  const [steady, ...leaping] = await Promise.all(runs);
  assert.ok(steady !== undefined && steady.attempts > 50);
  for (const one of leaping) assert.deepEqual(one, steady);
});

test("a batch interval of a millisecond waits for a millisecond", async () => {
  const simulation = new LinkSimulation({ kbitPerSecond: 1_000_000, roundTripMs: 0.1 });
  simulation.addStream("fast", { batchSize: 500 }, { batchIntervalMillis: 1 });
  for (let round = 0; round < 100; round += 1) {
    await simulation.pass(10);
    const filledMs = simulation.nowMs;
    simulation.fill("fast", 1);
    await simulation.pass(10);
    assert.equal(simulation.requests.length, round + 1);
    assert.ok(Math.abs(simulation.requests.at(-1)!.startMs - filledMs - 1) < 1e-6);
  }
});
