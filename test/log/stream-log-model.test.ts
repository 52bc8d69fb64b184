import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";

import type { LogPolicy } from "../../src/log/log-policy.ts";
import { StreamLog } from "../../src/log/stream-log.ts";
import { ManualClock, SeededRandom } from "../support/deterministic.ts";
import {
  blockOf,
  costOf,
  logOptions,
  readAll,
  smallPolicy,
  STREAM_DIRECTORY,
} from "../support/log-fixture.ts";
import { crashStates, SimStorage } from "../support/sim-storage.ts";

type Command =
  | { readonly kind: "append"; readonly sizes: readonly number[] }
  | { readonly kind: "sync" }
  | { readonly kind: "completeSyncs" }
  | { readonly kind: "tick"; readonly ms: number }
  | { readonly kind: "read"; readonly place: number; readonly messageCountMax: number }
  | { readonly kind: "restart" }
  /** Within the command before: behind which of its operations, and which of the states that this may leave. */
  | { readonly kind: "crash"; readonly place: number; readonly choice: number };

const fraction = fc.double({ min: 0, max: 0.999, noNaN: true });
const sizes = fc.array(fc.integer({ min: 1, max: 1500 }), { minLength: 1, maxLength: 4 });
const command: fc.Arbitrary<Command> = fc.oneof(
  { weight: 6, arbitrary: fc.record({ kind: fc.constant("append" as const), sizes }) },
  { weight: 3, arbitrary: fc.constant({ kind: "sync" as const }) },
  { weight: 3, arbitrary: fc.constant({ kind: "completeSyncs" as const }) },
  {
    weight: 1,
    arbitrary: fc.record({ kind: fc.constant("tick" as const), ms: fc.integer({ min: 1, max: 3000 }) }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constant("read" as const),
      place: fraction,
      messageCountMax: fc.integer({ min: 1, max: 20 }),
    }),
  },
  { weight: 1, arbitrary: fc.constant({ kind: "restart" as const }) },
  {
    weight: 2,
    arbitrary: fc.record({ kind: fc.constant("crash" as const), place: fraction, choice: fraction }),
  },
);

/** The log beside a list of the messages that it must hold. */
class Model {
  readonly #policy: LogPolicy;
  readonly #clock = new ManualClock();
  #storage = new SimStorage();
  #log: StreamLog;
  #messages: string[] = [];
  /** What was promised to last, and behind which operation. */
  #promises: { operation: number; end: number }[] = [];
  #operationsBefore = 0;
  #countBefore = 0;
  #sent = 0;
  #epoch = 1;
  crashCount = 0;

  constructor(policy: LogPolicy) {
    this.#policy = policy;
    this.#storage.makeDirectory("/store");
    this.#storage.syncDirectory("/");
    this.#log = StreamLog.create(this.#options());
  }

  #options(): Parameters<typeof StreamLog.create>[0] {
    const random = new SeededRandom(this.#epoch);
    return logOptions(this.#storage, {
      policy: this.#policy,
      clock: this.#clock,
      epoch: this.#epoch,
      random,
    });
  }

  run(next: Command): void {
    if (next.kind === "crash") {
      this.#crash(next.place, next.choice);
      return;
    }
    this.#operationsBefore = this.#storage.operations.length;
    this.#countBefore = this.#messages.length;
    this.#step(next);
    this.#promise(this.#log.syncedEndSequence);
  }

  #promise(end: number): void {
    this.#promises.push({ operation: this.#storage.operations.length - 1, end });
  }

  #step(next: Exclude<Command, { kind: "crash" }>): void {
    const log = this.#log;
    if (next.kind === "append") this.#append(next.sizes);
    else if (next.kind === "completeSyncs") this.#storage.completeSyncs();
    else if (next.kind === "read") this.#read(next.place, next.messageCountMax);
    else if (next.kind === "sync") {
      const end = log.nextSequence;
      log.sync((error) => {
        assert.equal(error, undefined);
        this.#promise(end);
      });
    } else if (next.kind === "tick") {
      this.#clock.advance(next.ms);
      log.tick();
    } else {
      this.#storage.completeSyncs();
      log.close();
      assert.equal(this.#storage.openFiles, 0);
      this.#open();
      assert.equal(this.#log.nextSequence, this.#messages.length);
    }
  }

  #append(messageSizes: readonly number[]): void {
    const batch = messageSizes.map((size) => `${this.#sent++} `.padEnd(size, "abcdefgh"));
    const block = blockOf(batch);
    if (this.#log.isSaturated) return;
    this.#log.admit(costOf(block));
    assert.equal(this.#log.append(block), this.#messages.length);
    this.#messages.push(...batch);
  }

  #read(place: number, messageCountMax: number): void {
    const from = Math.floor(place * this.#messages.length);
    const to = Math.min(this.#messages.length, from + 40);
    this.#expect(from, to, { messageCountMax, bytesMax: 3000 });
  }

  #expect(from: number, to: number, chunk?: { messageCountMax: number; bytesMax: number }): void {
    const { messages, gaps } = readAll(this.#log, from, to, chunk);
    assert.deepEqual(gaps, []);
    assert.deepEqual([...messages.values()], this.#messages.slice(from, to));
  }

  #open(): void {
    this.#epoch += 1;
    this.#log = StreamLog.open(this.#options()).log;
    assert.equal(this.#log.syncedEndSequence, this.#log.nextSequence);
    assert.equal(this.#log.oldestSequence, 0);
    this.#expect(0, this.#log.nextSequence);
  }

  #crash(place: number, choice: number): void {
    const last = this.#storage.operations.length - 1;
    const operation = Math.max(0, this.#operationsBefore - 1);
    const at = operation + Math.floor(place * (last - operation + 1));
    const random = new SeededRandom(at);
    const options = { random: () => random.fraction(), randomSubsets: 3, garbleBytes: 4096 };
    const states = [...crashStates(this.#storage, at, options)];
    const state = states[Math.floor(choice * states.length)]!;
    if (!state.storage.list("/store").some(({ name }) => STREAM_DIRECTORY.endsWith(name))) return;
    const durable = Math.max(0, ...this.#promises.filter((p) => p.operation <= at).map(({ end }) => end));
    const kept = state.isKillOnly ? Math.max(durable, this.#countBefore) : durable;
    this.crashCount += 1;
    const sent = this.#messages;
    this.#storage = state.storage;
    this.#open();
    const end = this.#log.nextSequence;
    assert.ok(end >= kept && end <= sent.length, `${state.label}: ${end} of ${kept} to ${sent.length}`);
    this.#messages = sent.slice(0, end);
    this.#promises = [{ operation: -1, end }];
    this.#operationsBefore = this.#storage.operations.length;
    this.#countBefore = end;
  }
}

describe("StreamLog against a list", () => {
  for (const flushOnWrite of [true, false]) {
    it(`holds what was appended, over crashes and starts, flushOnWrite ${flushOnWrite}`, (t) => {
      let crashCount = 0;
      const seed = Number(process.env["SEED"] ?? 3);
      const policy = { ...smallPolicy, flushOnWrite };
      const property = fc.property(fc.array(command, { minLength: 10, maxLength: 60 }), (commands) => {
        const model = new Model(policy);
        for (const next of commands) model.run(next);
        crashCount += model.crashCount;
      });
      fc.assert(property, { seed, numRuns: 250 });
      assert.ok(crashCount > 250, `only ${crashCount} crashes`);
      t.diagnostic(`${crashCount} crashes, seed ${seed}`);
    });
  }
});
