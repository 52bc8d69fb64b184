import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";

import { ClockedLog, DAY, HOUR, MINUTE, SECOND, YEAR } from "./clocked-log.ts";

/** What the wall clock of a machine may show when it boots. */
type BootClock = "right" | "as wrong as before" | "in 1970" | "the time of the last stop" | "off";

type Command =
  | { readonly kind: "append"; readonly count: number }
  | { readonly kind: "pass"; readonly ms: number }
  | { readonly kind: "sleep"; readonly ms: number }
  | { readonly kind: "step"; readonly ms: number }
  | { readonly kind: "putRight" }
  | {
      readonly kind: "restart";
      readonly offMs: number;
      readonly boot: BootClock;
      readonly ms: number;
      readonly isKilled: boolean;
    }
  | { readonly kind: "timeToLive"; readonly ms: number };

/** From `min` to `max`, as often between a minute and an hour as between a month and a year. */
function span(min: number, max: number): fc.Arbitrary<number> {
  const range = { min: Math.log(min), max: Math.log(max), noNaN: true };
  return fc.double(range).map((logarithm) => Math.round(Math.exp(logarithm)));
}

const signed = (size: fc.Arbitrary<number>): fc.Arbitrary<number> =>
  fc.tuple(size, fc.boolean()).map(([ms, isBack]) => (isBack ? -ms : ms));

const append = fc.record({ kind: fc.constant("append" as const), count: fc.integer({ min: 1, max: 4 }) });
const pass = fc.record({ kind: fc.constant("pass" as const), ms: span(SECOND, 6 * HOUR) });
const kinds: readonly BootClock[] = [
  "right",
  "as wrong as before",
  "in 1970",
  "the time of the last stop",
  "off",
];

const command: fc.Arbitrary<Command> = fc.oneof(
  { weight: 6, arbitrary: append },
  { weight: 6, arbitrary: pass },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("sleep" as const), ms: span(MINUTE, 3 * DAY) }) },
  {
    weight: 3,
    arbitrary: fc.record({ kind: fc.constant("step" as const), ms: signed(span(SECOND, 30 * YEAR)) }),
  },
  { weight: 3, arbitrary: fc.constant({ kind: "putRight" as const }) },
  {
    weight: 3,
    arbitrary: fc.record({
      kind: fc.constant("restart" as const),
      offMs: span(SECOND, 20 * DAY),
      boot: fc.constantFrom(...kinds),
      ms: signed(span(SECOND, 20 * YEAR)),
      isKilled: fc.boolean(),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ kind: fc.constant("timeToLive" as const), ms: span(MINUTE, 4 * DAY) }),
  },
);

/** Any history, in which a wrong clock is put right before anybody has reason to believe it, and before the engine ends. */
const tame: fc.Arbitrary<Command[]> = fc.array(command, { minLength: 8, maxLength: 40 }).map((commands) =>
  commands.flatMap((next): Command[] => {
    if (next.kind === "pass") return [{ ...next, ms: next.ms }];
    const right = { kind: "putRight" as const };
    const soon = { kind: "pass" as const, ms: 9 * MINUTE };
    const proven = { kind: "pass" as const, ms: 11 * MINUTE };
    // A step of up to an hour is believed at once.
    const leapMs = next.kind === "step" ? next.ms + Math.sign(next.ms) * HOUR : 0;
    const leap = { kind: "step" as const, ms: leapMs };
    if (next.kind === "step") return [leap, { kind: "append", count: 1 }, soon, right, proven];
    if (next.kind === "restart") return [next, { kind: "append", count: 1 }, soon, right, proven];
    return [next];
  }),
);

class History {
  readonly device: ClockedLog;
  /** The clock is never believed where it was set forward. */
  readonly #isTame: boolean;
  #checkedCount = 0;
  timeToLiveMs: number;

  constructor(
    timeToLiveMs: number,
    options: { readonly bootErrorMs?: number; readonly segmentSize?: number; readonly isTame?: boolean } = {},
  ) {
    const { bootErrorMs = 0, segmentSize = 6000, isTame = false } = options;
    this.timeToLiveMs = timeToLiveMs;
    this.#isTame = isTame;
    this.device = new ClockedLog({ timeToLiveMs, segmentSize });
    this.device.setWall(this.device.trueMs + bootErrorMs);
  }

  run(next: Command): void {
    const { device } = this;
    if (next.kind === "append") device.append(next.count);
    else if (next.kind === "sleep") device.sleep(next.ms);
    else if (next.kind === "step") device.setWall(device.clock.nowMs() + next.ms);
    else if (next.kind === "putRight") device.setWall(device.trueMs);
    else if (next.kind === "restart") this.#restart(next);
    else if (next.kind === "pass") this.#pass(next.ms);
    else {
      this.timeToLiveMs = next.ms;
      device.setTimeToLive(next.ms);
    }
    this.check();
  }

  #pass(ms: number): void {
    const stepMs = Math.ceil(Math.max(100, Math.min(MINUTE, ms / 20)));
    for (let leftMs = ms; leftMs > 0; leftMs -= 10 * stepMs) {
      this.device.pass(Math.min(leftMs, 10 * stepMs), stepMs);
      this.check();
    }
  }

  #restart({ offMs, boot, ms, isKilled }: Extract<Command, { kind: "restart" }>): void {
    const stoppedMs = this.device.clock.nowMs();
    const { errorMs } = this.device;
    const wallMs = (trueMs: number): number => {
      if (boot === "right") return trueMs;
      if (boot === "as wrong as before") return trueMs + errorMs;
      if (boot === "in 1970") return 0;
      return boot === "off" ? trueMs + ms : stoppedMs;
    };
    this.device.restart({ offMs, isKilled, wallMs });
  }

  /** Nothing is gone whose time is not over. */
  check(): void {
    const { device } = this;
    for (; this.#checkedCount < device.goneCount; this.#checkedCount++) {
      const ageMs = device.trueMs - device.arrivedMs[this.#checkedCount]!;
      const setForwardMs = this.#isTame ? 0 : device.setForwardMs;
      const text = `message ${this.#checkedCount} is gone after ${ageMs} ms, clock set forward ${setForwardMs} ms`;
      assert.ok(ageMs > this.timeToLiveMs - setForwardMs, text);
    }
  }
}

const seed = Number(process.env["SEED"] ?? 3);
const numRuns = Number(process.env["TTL_RUNS"] ?? 120);
const timeToLive = span(MINUTE, 4 * DAY);

describe("time to live against what really passed", () => {
  it("deletes nothing early, whatever the clock did, but for what it was set forward between two runs", (t) => {
    let exact = 0;
    let gone = 0;
    const commands = fc.array(command, { minLength: 10, maxLength: 60 });
    const property = fc.property(
      timeToLive,
      signed(span(SECOND, 30 * YEAR)),
      commands,
      (ms, errorMs, all) => {
        const history = new History(ms, { bootErrorMs: errorMs });
        for (const next of all) history.run(next);
        if (history.device.setForwardMs > 0) return;
        exact += 1;
        gone += history.device.goneCount;
      },
    );
    fc.assert(property, { seed, numRuns, includeErrorInReport: true });
    assert.ok(exact > numRuns / 5 && gone > numRuns, `${exact} exact histories, ${gone} messages gone`);
    t.diagnostic(
      `${exact} of ${numRuns} histories left no tolerance, ${gone} messages gone in them, seed ${seed}`,
    );
  });

  it("deletes nothing early when a wrong clock is put right before it was steady", (t) => {
    let gone = 0;
    const property = fc.property(timeToLive, tame, (ms, all) => {
      const history = new History(ms, { isTame: true });
      history.run({ kind: "pass", ms: 11 * MINUTE });
      for (const next of all) history.run(next);
      gone += history.device.goneCount;
    });
    fc.assert(property, { seed, numRuns, includeErrorInReport: true });
    assert.ok(gone > numRuns, `${gone} messages gone`);
    t.diagnostic(`${gone} messages gone, seed ${seed}`);
  });

  it("has deleted everything that is over age once the clock was sane for a time to live and ten minutes", () => {
    const commands = fc.array(command, { minLength: 5, maxLength: 40 });
    const property = fc.property(signed(span(SECOND, 30 * YEAR)), commands, (errorMs, all) => {
      const history = new History(HOUR, { bootErrorMs: errorMs });
      for (const next of all) history.run(next.kind === "timeToLive" ? { ...next, ms: HOUR } : next);
      const { device } = history;
      device.append();
      const count = device.arrivedMs.length;
      device.setWall(device.trueMs);
      device.pass(11 * MINUTE + HOUR, MINUTE);
      device.pass(MINUTE, 100);
      assert.equal(device.goneCount, count);
      device.append();
      assert.equal(device.log.nextSequence, count + 1);
      history.check();
    });
    fc.assert(property, { seed, numRuns, includeErrorInReport: true });
  });

  it("counts the time between runs whole where the clock is right, over runs that are too short to prove it", () => {
    const run = fc.record({
      offMs: span(SECOND, 10 * DAY),
      ms: span(SECOND, 3 * HOUR),
      isKilled: fc.boolean(),
    });
    const property = fc.property(
      fc.array(run, { minLength: 1, maxLength: 8 }),
      span(HOUR, 10 * DAY),
      (runs, ms) => {
        // Every message in a segment of its own.
        const history = new History(ms, { segmentSize: 600, isTame: true });
        const { device } = history;
        history.run({ kind: "pass", ms: 11 * MINUTE });
        const proofsMs = [device.trueMs];
        for (const { offMs, ms: runMs, isKilled } of runs) {
          device.append();
          history.run({ kind: "pass", ms: runMs });
          if (runMs >= 11 * MINUTE) proofsMs.push(device.trueMs - runMs + 11 * MINUTE);
          history.run({ kind: "restart", offMs, boot: "right", ms: 0, isKilled });
        }
        history.run({ kind: "pass", ms: 11 * MINUTE });
        proofsMs.push(device.trueMs);
        device.pass(MINUTE, 100);
        // What came in a run that was too short counts as young as the next proof.
        const provenMs = (arrivedMs: number): number => proofsMs.find((proofMs) => proofMs >= arrivedMs)!;
        const isOver = (arrivedMs: number): boolean => device.trueMs - provenMs(arrivedMs) > ms + 2 * MINUTE;
        const overCount = device.arrivedMs.filter(isOver).length;
        assert.ok(device.goneCount >= overCount, `${device.goneCount} gone, ${overCount} over age`);
      },
    );
    fc.assert(property, { seed, numRuns, includeErrorInReport: true });
  });
});
