import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { REWRITE_PAUSE_FACTOR, REWRITE_QUIET_MS } from "../../src/core/limits.ts";
import { Persistence } from "../../src/core/stream-definition.ts";
import type { RewriteSlice } from "../../src/log/segment-rewrites.ts";
import { HandledSlot } from "../../src/stream/handled-slot.ts";
import type { OpenStream } from "../../src/stream/open-stream.ts";
import { RewriteStage } from "../../src/stream/rewrite-stage.ts";
import { ManualClock } from "../support/deterministic.ts";
import { AgentFixture, directoryOf, type UpEvent } from "./agent-fixture.ts";

const SLICE_MS = 2;

/** A stream whose rewrite takes `slices` of two milliseconds each, then a sync, then one more. */
class FakeRewrites {
  readonly log: string[];
  readonly name: string;
  readonly #clock: ManualClock;
  #left: number;
  isSyncing = false;
  settle: (() => void) | undefined;

  constructor(name: string, slices: number, log: string[], clock: ManualClock) {
    this.name = name;
    this.#left = slices;
    this.log = log;
    this.#clock = clock;
  }

  get isDue(): boolean {
    return this.#left > 0 && !this.isSyncing;
  }
  get isRunning(): boolean {
    return this.#left > 0;
  }

  slice(onSettled: () => void): RewriteSlice {
    assert.ok(!this.isSyncing, "no slice while a sync runs");
    if (this.#left === 0) return "idle";
    this.#clock.advance(SLICE_MS);
    this.log.push(this.name);
    this.#left -= 1;
    if (this.#left !== 1) return "worked";
    this.isSyncing = true;
    this.settle = () => {
      this.isSyncing = false;
      onSettled();
    };
    return "waiting";
  }
}

function newStage(slices: readonly number[]) {
  const clock = new ManualClock();
  clock.advance(1000);
  const log: string[] = [];
  const rewrites = slices.map((count, at) => new FakeRewrites(String(at), count, log, clock));
  const streams = rewrites.map(
    (fake) => ({ slot: Number(fake.name), log: { rewrites: fake } }) as unknown as OpenStream,
  );
  let settledCount = 0;
  const handledSlot = new HandledSlot();
  const stage = new RewriteStage({ clock, onSyncSettled: () => (settledCount += 1), handledSlot });
  return { clock, log, rewrites, streams, stage, handledSlot, settled: () => settledCount };
}

describe("RewriteStage", () => {
  it("works slice upon slice while nothing arrives, and leaves the thread alone while a sync runs", () => {
    const { log, rewrites, streams, stage, settled } = newStage([5]);
    stage.choose(streams);
    for (let slice = 0; slice < 3; slice++) assert.equal(stage.serve(), true);
    assert.equal(stage.serve(), false);
    assert.ok(stage.isSyncing);
    assert.equal(stage.nextDeadlineMs(), Infinity);
    assert.equal(stage.serve(), false);
    assert.equal(log.length, 4);
    rewrites[0]!.settle!();
    assert.equal(settled(), 1);
    stage.serve();
    assert.equal(log.length, 5);
    assert.equal(stage.nextDeadlineMs(), Infinity);
  });

  it("takes one part in ten of the time while messages arrive, and all of it once they stop", () => {
    const { clock, log, streams, stage } = newStage([1000]);
    stage.choose(streams);
    const startMs = clock.monotonicMs();
    while (clock.monotonicMs() < startMs + 1000) {
      stage.noteInput();
      assert.equal(stage.serve(), false);
      clock.advance(1);
      const deadlineMs = stage.nextDeadlineMs();
      assert.ok(
        deadlineMs <= Math.min(REWRITE_QUIET_MS, SLICE_MS * REWRITE_PAUSE_FACTOR),
        String(deadlineMs),
      );
    }
    const share = (log.length * SLICE_MS) / (clock.monotonicMs() - startMs);
    assert.ok(share > 0.08 && share < 0.11, `${share}`);
    clock.advance(REWRITE_QUIET_MS);
    for (let slice = 0; slice < 50; slice++) assert.equal(stage.serve(), true);
  });

  it("gives each stream its turn, a segment at a time, and forgets one that is deleted", () => {
    const { log, rewrites, streams, stage, handledSlot } = newStage([3, 0, 3, 3]);
    const untilDone = (): void => {
      stage.choose(streams);
      for (let left = 10; left > 0; left--) {
        stage.serve();
        for (const fake of rewrites) if (fake.isSyncing) fake.settle!();
      }
    };
    untilDone();
    assert.deepEqual(log, ["0", "0", "0"]);
    stage.choose(streams.slice(2));
    stage.serve();
    // Whoever finds the worker dead knows which stream it had in hand.
    assert.equal(handledSlot.slot, 2);
    stage.endStream(streams[2]!);
    untilDone();
    assert.deepEqual(log.slice(3), ["2", "3", "3", "3"]);
  });
});

describe("StreamAgent", () => {
  /** Messages one at a time, each committed on its own. */
  function trickle(fixture: AgentFixture, slot: number, count: number): void {
    for (let at = 0; at < count; at++) {
      fixture.append(at + 1, slot, { messages: [`{"sensor":"s-${at % 7}","value":${at}}`] });
      assert.equal(fixture.outcomes().length, 1);
      if (at % 50 === 49) fixture.storage.completeSyncs();
    }
  }

  function tick(fixture: AgentFixture): UpEvent[] {
    fixture.clock.advance(1000);
    const events = fixture.work();
    fixture.storage.completeSyncs();
    return [...events, ...fixture.work()];
  }

  function names(fixture: AgentFixture, slot: number): string[] {
    const entries = fixture.storage.list(directoryOf(slot)).map(({ name }) => name);
    return entries.filter((name) => name.includes(".lz4")).sort();
  }

  it("rewrites complete segments of small blocks, tells that they became smaller, and reads on", () => {
    const fixture = new AgentFixture();
    fixture.open(0, { streamSegmentSize: 20_000 });
    trickle(fixture, 0, 400);
    const events = [...tick(fixture), ...tick(fixture), ...tick(fixture)];
    const stored = events.flatMap((event) => (event.kind === "progress" ? [event.progress] : []));
    const last = stored.at(-1)!;
    assert.ok(last.rewrittenBytes > 0 && last.writtenBytes > last.rewrittenBytes);
    assert.ok(stored.some(({ storedBytes }) => storedBytes > last.storedBytes));
    assert.match(names(fixture, 0)[0]!, /-0001\.lz4$/);
    fixture.read(1000, 0, { from: 0, min: 400, max: 400 });
    const payloads = fixture.outcomes().flatMap((event) => (event.kind === "records" ? event.payloads : []));
    assert.equal(payloads.length, 400);
  });

  it("stops with a rewrite under way, and deletes a stream in the middle of one", () => {
    for (const end of ["close", "destroy"] as const) {
      const fixture = new AgentFixture();
      fixture.open(0, { streamSegmentSize: 20_000 });
      trickle(fixture, 0, 400);
      fixture.clock.advance(1000);
      fixture.work();
      assert.ok(fixture.agent.isSyncing, "a copy is being synced");
      if (end === "destroy") fixture.control({ kind: "destroy", slot: 0 });
      else fixture.agent.onControl({ kind: "close", id: 99 });
      fixture.storage.completeSyncs();
      fixture.work();
      if (end === "close") assert.ok(fixture.agent.isClosed);
      assert.equal(fixture.storage.openFiles, 0);
    }
  });

  it("leaves Memory streams as they are", () => {
    const fixture = new AgentFixture();
    fixture.open(0, { streamSegmentSize: 20_000, persistence: Persistence.Memory });
    trickle(fixture, 0, 400);
    tick(fixture);
    tick(fixture);
    fixture.append(5000, 0, { messages: ["one more"] });
    const events = fixture.work();
    const stored = events.flatMap((event) => (event.kind === "progress" ? [event.progress] : []));
    assert.ok(stored.length > 0);
    assert.ok(stored.every(({ rewrittenBytes }) => rewrittenBytes === 0));
  });
});
