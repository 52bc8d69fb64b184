import assert from "node:assert/strict";
import { SeededRandom } from "../../support/deterministic.ts";
import type { Counterpart } from "./destination-under-test.ts";
import type { ExportRun } from "./export-run.ts";

/** What may happen to an export while it goes on. */
interface Blow {
  readonly name: string;
  /** What the counterpart must be able to do. */
  readonly needs?: keyof Counterpart;
  readonly act: (storm: Storm) => Promise<void> | void;
}

/** What the other cases do one at a time, in an order that the seed says, with one thing upon another. */
export class Storm {
  readonly run: ExportRun;
  readonly random: SeededRandom;
  readonly #seed: number;
  readonly #batchSize: number;
  readonly #windowMax: number;
  /** Messages that the destination never takes, as the case counts. */
  readonly #bad = new Set<number>();
  readonly #log: string[] = [];
  #appended = 0;
  /** Requests that may be under way, and before that was changed: the batch in hand may be of then. */
  #window = 1;
  #windowBefore = 1;
  /** Messages whose answers may have been lost. */
  #doubted = 0;

  constructor(
    run: ExportRun,
    { seed, batchSize, windowMax }: { seed: number; batchSize: number; windowMax: number },
  ) {
    this.run = run;
    this.random = new SeededRandom(seed);
    this.#seed = seed;
    this.#batchSize = batchSize;
    this.#windowMax = windowMax;
  }

  async blow(times: number): Promise<void> {
    const possible = blows.filter(({ needs }) => needs === undefined || needs in this.run.counterpart);
    for (let time = 0; time < times; time += 1) {
      await this.append(this.random.between(1, 3 * this.#batchSize));
      const { name, act } = possible[this.random.between(0, possible.length - 1)]!;
      this.#log.push(`${name} at ${this.#appended}`);
      await act(this);
    }
  }

  async append(count: number): Promise<void> {
    await this.run.append(count);
    this.#appended += count;
  }

  async appendBad(): Promise<void> {
    await this.run.appendBad();
    this.#bad.add(this.#appended);
    this.#appended += 1;
  }

  /** What is under way may be stored, and nobody told. */
  doubt(): void {
    this.#doubted += Math.max(this.#window, this.#windowBefore) * this.#batchSize;
  }

  async changeWindow(): Promise<void> {
    this.#windowBefore = this.#window;
    this.#window = this.random.between(1, this.#windowMax);
    await this.run.configure({ inFlightMax: this.#window });
  }

  /** Until what was asked for has happened, or there is nothing left for it to happen to. */
  async unlessDrained(hasHappened: () => boolean): Promise<void> {
    await this.run.retry();
    await this.run.until(async () => hasHappened() || (await this.run.exporter()).pending.messages === 0);
  }

  /** All has arrived or is set aside, and nothing more often than it was in doubt. */
  async assertPassed(): Promise<void> {
    const because = `SEED=${this.#seed}: ${this.#log.join(", ")}`;
    const arrived = await this.run.arrived();
    const all = Array.from({ length: this.#appended }, (_, counter) => counter);
    const good = all.filter((counter) => !this.#bad.has(counter));
    const distinct = [...new Set(arrived)].sort((one, other) => one - other);
    assert.deepEqual(distinct, good, because);
    const repeated = arrived.length - good.length;
    assert.ok(repeated <= this.#doubted, `${repeated} repeated, ${this.#doubted} may be. ${because}`);
    await this.run.assertAccount({ exported: good.length, setAside: this.#bad.size });
  }
}

const blows: readonly Blow[] = [
  { name: "calm", act: ({ run }) => run.drain() },
  { name: "other window", act: (storm) => storm.changeWindow() },
  { name: "retry", act: ({ run }) => run.retry() },
  {
    name: "pause",
    async act(storm) {
      await storm.run.pause();
      await storm.append(1);
      await storm.run.resume();
    },
  },
  { name: "bad message", needs: "badPayload", act: (storm) => storm.appendBad() },
  {
    name: "throttle",
    needs: "throttle",
    act: ({ run, random }) => run.counterpart.throttle!(random.between(1, 2)),
  },
  {
    name: "some fail",
    needs: "failSome",
    act: ({ run, random }) => run.counterpart.failSome!(random.between(1, 3)),
  },
  {
    name: "answer without end",
    needs: "answerEndlessly",
    act(storm) {
      storm.doubt();
      storm.run.counterpart.answerEndlessly!();
    },
  },
  {
    name: "outage",
    async act(storm) {
      const { counterpart } = storm.run;
      storm.doubt();
      await counterpart.goDown();
      await storm.append(1);
      await storm.run.untilError();
      await counterpart.goUp();
      await storm.run.retry();
    },
  },
  {
    name: "kill",
    async act(storm) {
      storm.doubt();
      await storm.run.kill();
      await storm.run.restart();
    },
  },
  {
    name: "kill with answers held",
    needs: "holdAfter",
    async act(storm) {
      const { counterpart } = storm.run;
      storm.doubt();
      counterpart.holdAfter!(storm.random.between(0, 3));
      await storm.unlessDrained(() => counterpart.heldCount!() > 0);
      await storm.run.kill();
      counterpart.resume!();
      await storm.run.restart();
    },
  },
];
