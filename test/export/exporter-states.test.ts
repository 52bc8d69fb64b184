import assert from "node:assert/strict";
import { test } from "node:test";
import { EXPORT_STUCK_MS } from "../../src/core/limits.ts";
import type { SendFailure } from "../../src/export/destinations/destination.ts";
import type { ExporterState } from "../../src/export/exporter-state.ts";
import { EventName } from "../../src/observe/events.ts";
import { silentLogger, type Logger } from "../../src/observe/logger.ts";
import { LinkSimulation } from "./link-simulation.ts";

const link = { kbitPerSecond: 5000, roundTripMs: 2000 };
const down: SendFailure = {
  kind: "failed",
  scope: "endpoint",
  pace: "backoff",
  timedOut: false,
  error: "connection refused",
};

function stateOf(simulation: LinkSimulation, name: string): ExporterState {
  const [state] = simulation.manager.states(name);
  assert.ok(state !== undefined);
  return state;
}

test("ExportManager tells what exporters do and what they wait for", async () => {
  const simulation = new LinkSimulation({ ...link, slots: 1 });
  const waits = { priority: 1, batchSize: 500, batchIntervalMillis: 60_000 };
  simulation.addStream("waits", waits);
  simulation.addStream("better", { priority: 2, batchSize: 100 });
  simulation.addStream("worse", { priority: 3 });
  simulation.addStream("off", { priority: 1, disabled: true });
  simulation.addStream("held", { priority: 1 }, { paused: true });
  for (const name of ["waits", "better", "worse", "off", "held"]) {
    assert.equal(
      stateOf(simulation, name).state,
      name === "off" ? "disabled" : name === "held" ? "paused" : "idle",
    );
  }
  simulation.fill("waits", 3);
  simulation.fill("better", 1000);
  for (const name of ["worse", "off", "held"]) simulation.fill(name, 10);
  await simulation.pass(1000);
  const wallMs = simulation.clock.nowMs();
  assert.deepEqual(
    ["waits", "better", "worse", "off", "held"].map((name) => stateOf(simulation, name).state),
    ["waiting", "sending", "blocked", "disabled", "paused"],
  );
  assert.equal(stateOf(simulation, "waits").nextTryTimeMs, wallMs + 59_000);
  assert.equal(stateOf(simulation, "better").lastSuccessTimeMs, undefined);
  await simulation.pass(100_000);
  const better = stateOf(simulation, "better");
  assert.equal(better.state, "idle");
  assert.equal(better.lastError, undefined);
  assert.ok(better.lastSuccessTimeMs! > wallMs && better.lastSuccessTimeMs! < simulation.clock.nowMs());
  assert.ok(better.messagesPerSecond > 0 && better.messagesPerSecond < 50);
  assert.ok(Math.abs(better.bytesPerSecond / better.messagesPerSecond - 160) < 1e-6);
});

test("ExportManager says when a failed exporter is tried next, keeps the error, and retries at once on command", async () => {
  const simulation = new LinkSimulation(link);
  simulation.addStream("a", {});
  simulation.addStream("b", {});
  simulation.outage = () => down;
  simulation.fill("a", 10);
  simulation.fill("b", 10);
  await simulation.pass(3_600_000);
  let state = stateOf(simulation, "a");
  for (
    let minute = 0;
    state.state !== "backoff" || (state.nextTryTimeMs ?? 0) < simulation.clock.nowMs() + 10_000;
    minute += 1
  ) {
    assert.ok(minute < 60, JSON.stringify(state));
    await simulation.pass(7000);
    state = stateOf(simulation, "a");
  }
  assert.ok(state.nextTryTimeMs! <= simulation.clock.nowMs() + 300_000);
  assert.equal(state.lastError?.text, "connection refused");
  assert.ok(state.lastError.timeMs > 1_700_000_000_000);
  simulation.outage = undefined;
  assert.deepEqual(simulation.manager.retry("a", "nobody"), []);
  await simulation.pass(5000);
  assert.equal(stateOf(simulation, "a").lastSuccessTimeMs, undefined);
  assert.deepEqual(simulation.manager.retry("a", "a"), ["a"]);
  await simulation.pass(5000);
  const after = stateOf(simulation, "a");
  assert.deepEqual([after.state, after.lastError], ["idle", state.lastError]);
  assert.notEqual(after.lastSuccessTimeMs, undefined);
  // The endpoint is theirs in common.
  assert.equal(stateOf(simulation, "b").state, "idle");
});

test("ExportManager.retry ends the slow pace of an exporter without rights", async () => {
  const simulation = new LinkSimulation(link);
  simulation.addStream("a", {});
  simulation.outage = () => ({ ...down, scope: "exporter", pace: "slow", error: "access denied" });
  simulation.fill("a", 10);
  await simulation.pass(10_000);
  assert.equal(simulation.attempts, 1);
  assert.equal(stateOf(simulation, "a").nextTryTimeMs, simulation.clock.nowMs() + 52_000);
  simulation.manager.retry("a");
  await simulation.pass(10_000);
  assert.equal(simulation.attempts, 2);
});

test("ExportManager tells once of a task that does not come back, and lets others go on", async () => {
  const told: unknown[] = [];
  const logger: Logger = {
    ...silentLogger,
    error: (event, fields) => void told.push([event, fields]),
  };
  const simulation = new LinkSimulation({ ...link, logger });
  simulation.addStream("lost", { priority: 5 });
  simulation.addStream("well", { priority: 6 });
  simulation.outage = ({ streamName }) => (streamName === "lost" ? "never" : undefined);
  simulation.fill("lost", 10);
  simulation.fill("well", 10);
  await simulation.pass(EXPORT_STUCK_MS);
  assert.deepEqual([stateOf(simulation, "lost").state, told], ["sending", []]);
  await simulation.pass(10 * EXPORT_STUCK_MS);
  assert.equal(stateOf(simulation, "lost").state, "stuck");
  const reason = "its batch does not come back";
  assert.deepEqual(told, [[EventName.ExportStuck, { stream: "lost", exporter: "lost", reason }]]);
  assert.equal(stateOf(simulation, "well").state, "idle");
});

test("ExportManager shows who waits for bandwidth, its own cap or that of all", async () => {
  const simulation = new LinkSimulation({ ...link, roundTripMs: 50, kbitPerSecondMax: 80 });
  simulation.addStream("own", { priority: 1 }, { kbitPerSecondMax: 8 });
  simulation.addStream("all", { priority: 2 });
  simulation.fill("own", 10_000);
  simulation.fill("all", 10_000);
  const seen = { own: new Set<string>(), all: new Set<string>() };
  for (let tenth = 0; tenth < 300; tenth += 1) {
    await simulation.pass(100);
    seen.own.add(stateOf(simulation, "own").state);
    seen.all.add(stateOf(simulation, "all").state);
  }
  assert.deepEqual([...seen.own].sort(), ["sending", "throttled"]);
  assert.deepEqual([...seen.all].sort(), ["sending", "throttled"]);
});
