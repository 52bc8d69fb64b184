import assert from "node:assert/strict";

import { ClockWatch } from "../../src/core/clock-watch.ts";
import { CLOCK_STEADY_MS } from "../../src/core/limits.ts";
import type { LogPolicy } from "../../src/log/log-policy.ts";
import { recoverLog } from "../../src/log/recovered-log.ts";
import { StreamLog } from "../../src/log/stream-log.ts";
import { ManualClock, SeededRandom } from "../support/deterministic.ts";
import {
  blockOf,
  costOf,
  logOptions,
  smallPolicy,
  STREAM_DIRECTORY,
  STREAM_ID,
} from "../support/log-fixture.ts";
import { type Fault, type Faults, SimStorage } from "../support/sim-storage.ts";

export const SECOND = 1000;
export const MINUTE = 60 * SECOND;
export const HOUR = 60 * MINUTE;
export const DAY = 24 * HOUR;
export const YEAR = 365 * DAY;
export const START_MS = 1_700_000_000_000;

/** A stream on a machine whose clocks do what they are told, beside the time that really passes. */
export class ClockedLog {
  readonly storage: SimStorage;
  policy: LogPolicy;
  clock: ManualClock;
  log: StreamLog;
  /** What really is the time, Unix ms. */
  trueMs = START_MS;
  /** By sequence number: when the message really came. */
  readonly arrivedMs: number[] = [];
  /** By how much the wall clock of a run was set forward since the ingest time that it was held against, as far as it matters. */
  setForwardMs = 0;
  #watch: ClockWatch;
  #epoch = 1;
  /** By ingest time of a proven clock: when it really was. */
  readonly #stampedMs = new Map<number, number>();
  #referenceErrorMs: number | undefined;
  #isJudged = true;

  constructor(
    policy: Partial<LogPolicy> & { readonly timeToLiveMs: number },
    wallMs = START_MS,
    faults: Faults = new Map<string, Fault>(),
  ) {
    this.storage = new SimStorage({ faults });
    this.policy = { ...smallPolicy, segmentSize: 600, commitAlignBytes: 0, ...policy };
    this.storage.makeDirectory("/store");
    this.clock = new ManualClock(wallMs);
    this.#watch = new ClockWatch(this.clock);
    this.log = StreamLog.create(this.#options());
  }

  #options(): Parameters<typeof StreamLog.create>[0] {
    const { clock, policy } = this;
    const random = new SeededRandom(this.#epoch);
    return logOptions(this.storage, { policy, clock, watch: this.#watch, random, epoch: this.#epoch });
  }

  /** What the wall clock is ahead of the truth. */
  get errorMs(): number {
    return this.clock.nowMs() - this.trueMs;
  }

  append(count = 1): void {
    this.#watch.sample();
    for (let left = count; left > 0; left--) {
      const sequence = this.arrivedMs.length;
      const block = blockOf([`message ${sequence} ${"x".repeat(150)}`], this.log.ingestMs);
      this.log.admit(costOf(block));
      assert.equal(this.log.append(block), sequence);
      this.arrivedMs.push(this.trueMs);
    }
    this.#noteStamp();
    this.log.sync(() => undefined);
    this.storage.completeSyncs();
  }

  pass(ms: number, stepMs = 30 * SECOND): void {
    for (let leftMs = ms; leftMs > 0; leftMs -= stepMs) {
      const nextMs = Math.min(stepMs, leftMs);
      this.clock.advance(nextMs);
      this.trueMs += nextMs;
      this.tick();
    }
  }

  sleep(ms: number): void {
    this.clock.sleep(ms);
    this.trueMs += ms;
    this.tick();
  }

  setWall(wallMs: number): void {
    this.clock.setWall(Math.max(0, wallMs));
    this.tick();
  }

  tick(): void {
    this.#watch.sample();
    this.#judge();
    this.log.tick();
    this.storage.completeSyncs();
    this.#noteStamp();
  }

  /** Only an ingest time of a proven clock can become a reference. */
  #noteStamp(): void {
    if (!this.#isJudged || this.#watch.steadyMs < CLOCK_STEADY_MS) return;
    this.#stampedMs.set(this.log.ingestMs, this.trueMs);
  }

  /** The one thing that ages may be wrong by: the wall clock that is believed now, against the one that was believed then. */
  #judge(): void {
    if (this.#isJudged || this.#watch.steadyMs < CLOCK_STEADY_MS) return;
    this.#isJudged = true;
    if (this.#referenceErrorMs === undefined) return;
    this.setForwardMs += Math.max(0, this.errorMs - this.#referenceErrorMs);
  }

  /** The engine ends and starts again on a machine that was off meanwhile. */
  restart(options: { offMs: number; wallMs?: (trueMs: number) => number; isKilled?: boolean }): void {
    const errorMs = this.errorMs;
    const stoppedMs = this.clock.nowMs();
    if (options.isKilled !== true) this.log.close();
    this.trueMs += options.offMs;
    this.clock = new ManualClock(Math.max(0, options.wallMs?.(this.trueMs) ?? this.trueMs + errorMs));
    this.#watch = new ClockWatch(this.clock);
    this.#epoch += 1;
    const streamId = Buffer.from(STREAM_ID, "hex");
    const found = recoverLog({ storage: this.storage.copy(), directory: STREAM_DIRECTORY, streamId }).chain;
    const reference = found.clock?.reference;
    this.#referenceErrorMs =
      reference && reference.stampMs - (this.#stampedMs.get(reference.stampMs) ?? stoppedMs);
    this.#isJudged = false;
    this.log = StreamLog.open(this.#options()).log;
    assert.equal(this.log.nextSequence, this.arrivedMs.length, "numbers go on");
  }

  setTimeToLive(timeToLiveMs: number): void {
    this.policy = { ...this.policy, timeToLiveMs };
    this.log.setPolicy(this.policy);
  }

  /** Messages that are gone. */
  get goneCount(): number {
    return this.log.oldestSequence;
  }
}
