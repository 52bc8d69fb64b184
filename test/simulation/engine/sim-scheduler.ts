import type { Timers } from "../../../src/core/timers.ts";
import { ManualClock, type SeededRandom } from "../../support/deterministic.ts";

interface Waiting {
  readonly name: string;
  readonly weight: number;
  /** Undefined while it has nothing to do. */
  readonly run: () => (() => void) | undefined;
}

interface SimTimer {
  readonly atMs: number;
  readonly action: () => void;
}

const LOOK_MS = 0.01;

/** Looking at it takes time, or whoever looks until a moment has passed would look for ever. */
class TickingClock extends ManualClock {
  #lookedMs = 0;

  override monotonicMs(): number {
    this.#lookedMs += LOOK_MS;
    return super.monotonicMs() + this.#lookedMs;
  }
}

/** Whoever can do something does it when the seed says so: one at a time, in one thread, on a clock that only this moves. */
export class SimScheduler implements Timers {
  readonly clock = new TickingClock();
  readonly random: SeededRandom;
  readonly #actors = new Map<string, Waiting>();
  #timers: SimTimer[] = [];
  stepCount = 0;
  /** The last actors, newest last, to tell what led to a failure. */
  readonly trace: string[] = [];

  constructor(random: SeededRandom) {
    this.random = random;
    this.addActor({ name: "time", weight: 1, run: () => () => this.#passTime() });
  }

  addActor(actor: Waiting): void {
    this.#actors.set(actor.name, actor);
  }

  removeActor(name: string): void {
    this.#actors.delete(name);
  }

  /** A process that died: none of its timers fires. */
  clearTimers(): void {
    this.#timers = [];
  }

  setTimer(action: () => void, delayMs: number): () => void {
    const timer = { atMs: this.clock.monotonicMs() + Math.max(0, delayMs), action };
    this.#timers.push(timer);
    return () => (this.#timers = this.#timers.filter((other) => other !== timer));
  }

  /** One step of one actor, and everything that follows from it without waiting. */
  async step(): Promise<void> {
    this.stepCount += 1;
    const ready = [...this.#actors.values()].flatMap(({ name, weight, run }) => {
      const action = run();
      return action === undefined ? [] : [{ name, weight, action }];
    });
    let dice = this.random.fraction() * ready.reduce((sum, { weight }) => sum + weight, 0);
    const chosen = ready.find(({ weight }) => (dice -= weight) < 0) ?? ready.at(-1)!;
    this.trace.push(chosen.name);
    if (this.trace.length > 40) this.trace.shift();
    chosen.action();
    await settled();
  }

  /** Steps until `isDone`. @throws when that takes more than `stepsMax` steps */
  async runUntil(isDone: () => boolean, what: string, stepsMax = 20_000): Promise<void> {
    for (let steps = 0; !isDone(); steps++) {
      if (steps >= stepsMax) throw new Error(`${what}: not within ${stepsMax} steps`);
      await this.step();
    }
  }

  /** Mostly moments; now and then as long as a disk, a network or a person takes. */
  #passTime(): void {
    const dice = this.random.fraction();
    const ms = dice < 0.7 ? this.random.between(0, 1) : dice < 0.97 ? this.random.between(1, 60) : 700;
    this.clock.advance(ms);
    const nowMs = this.clock.monotonicMs();
    const due = this.#timers.filter(({ atMs }) => atMs <= nowMs).sort((one, other) => one.atMs - other.atMs);
    this.#timers = this.#timers.filter(({ atMs }) => atMs > nowMs);
    for (const { action } of due) action();
  }
}

/** Resolves when every microtask that is due, and those that they start, have run. */
function settled(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
