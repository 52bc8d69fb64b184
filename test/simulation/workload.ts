import { ClockWatch } from "../../src/core/clock-watch.ts";
import { MillraceError } from "../../src/core/errors.ts";
import { MESSAGE_OVERHEAD_BYTES, STORAGE_PROBE_MS_MAX } from "../../src/core/limits.ts";
import type { Storage } from "../../src/log/storage.ts";
import type { LogPolicy } from "../../src/log/log-policy.ts";
import type { RewriteSlice } from "../../src/log/segment-rewrites.ts";
import type { WatchedClocks } from "../../src/log/stream-clock.ts";
import { StreamLog } from "../../src/log/stream-log.ts";
import { ManualClock, SeededRandom } from "../support/deterministic.ts";
import { blockOf, logOptions } from "../support/log-fixture.ts";
import { type Faults, SimStorage } from "../support/sim-storage.ts";

/** What is planted between the log and its storage, its exporters, or the machine's clocks. */
export interface Seams {
  readonly wrap: (storage: SimStorage) => Storage;
  /** Up to where the workload lets exporters read. */
  readonly exporterBound: (log: StreamLog) => number;
  readonly watch: (clock: ManualClock) => WatchedClocks;
}

export const soundSeams: Seams = {
  wrap: (storage) => storage,
  exporterBound: (log) => log.syncedEndSequence,
  watch: (clock) => new ClockWatch(clock),
};

export interface Scenario {
  readonly name: string;
  readonly seed: number;
  readonly steps: number;
  readonly policy: LogPolicy;
  readonly faults: Faults;
  /** Whatever exporters may read is exported at once and released. */
  readonly isReleased?: boolean;
  /** Complete segments are rewritten in blocks of this raw size; undefined: they stay as they are. */
  readonly rewriteBlockBytes?: number | undefined;
  /** Most random bytes of a message. */
  readonly fillerBytesMax?: number | undefined;
}

/** What the outside world had been told when an operation had just been done. */
export interface Told {
  /** Synced for those who asked: must survive a power cut. */
  readonly durableEnd: number;
  /** Appended: must survive the death of the process. */
  readonly appendedEnd: number;
  /** Exporters were allowed to read below. */
  readonly exportableEnd: number;
  /** Retention has deleted, or is about to delete, below. */
  readonly droppedEnd: number;
  /** How long the machine has lived, and what its wall clock shows. */
  readonly trueMs: number;
  readonly wallMs: number;
}

/** A message that may stand at its sequence number between two operations. */
export interface Candidate {
  readonly payload: string;
  readonly fromOperation: number;
  toOperation: number;
  /** Messages of one batch: all or none. */
  readonly batchStart: number;
  readonly batchEnd: number;
  /** How long the machine had lived. */
  readonly arrivedMs: number;
}

export interface WorkloadRecord {
  readonly storage: SimStorage;
  readonly candidates: Map<number, Candidate[]>;
  /** By operation: what had been told once it was done. */
  readonly told: Told[];
  readonly outcomes: Map<string, number>;
  readonly policy: LogPolicy;
  /** Some call was told that there is no room. */
  readonly isEverFull: boolean;
  readonly rewriteBlockBytes: number | undefined;
}

const WALL_LEAP_MS = 16 * 365 * 86_400_000;

/** Drives the real log over simulated storage and writes down what it promised, and when. */
class WorkloadRun {
  readonly storage: SimStorage;
  readonly candidates = new Map<number, Candidate[]>();
  readonly outcomes = new Map<string, number>();
  readonly #told: Told[] = [];
  readonly #random: SeededRandom;
  readonly #clock = new ManualClock();
  readonly #seams: Seams;
  readonly #scenario: Scenario;
  readonly #log: StreamLog;
  #durableEnd = 0;
  #appendedEnd = 0;
  #exportableEnd = 0;
  #droppedEnd = 0;
  #payloadCount = 0;

  constructor(scenario: Scenario, seams: Seams) {
    this.#scenario = scenario;
    this.#seams = seams;
    this.#random = new SeededRandom(scenario.seed);
    this.storage = new SimStorage({ faults: scenario.faults });
    this.storage.makeDirectory("/store");
    this.storage.syncDirectory("/");
    this.#log = StreamLog.create(
      logOptions(seams.wrap(this.storage), {
        clock: this.#clock,
        watch: seams.watch(this.#clock),
        random: this.#random,
        policy: scenario.policy,
        rewriteBlockBytes: scenario.rewriteBlockBytes,
      }),
    );
    this.#tell();
  }

  /** Whatever was done since the last call had been promised no more than what was told before it. */
  #tell(): void {
    const told: Told = {
      durableEnd: this.#durableEnd,
      appendedEnd: this.#appendedEnd,
      exportableEnd: this.#exportableEnd,
      droppedEnd: this.#droppedEnd,
      trueMs: this.#clock.monotonicMs(),
      wallMs: this.#clock.nowMs(),
    };
    this.storage.mark(told);
    const count = this.storage.operations.length;
    // Within a call, deletions may have been done that are told only now; promises hold from now on.
    while (this.#told.length < count - 1) {
      const { trueMs, wallMs } = told;
      const nothing = { durableEnd: 0, appendedEnd: 0, exportableEnd: 0 };
      this.#told.push({ ...(this.#told.at(-1) ?? nothing), droppedEnd: this.#droppedEnd, trueMs, wallMs });
    }
    this.#told.push(told);
  }

  #step(action: () => void): void {
    action();
    this.#exportableEnd = Math.max(this.#exportableEnd, this.#seams.exporterBound(this.#log));
    if (this.#scenario.isReleased === true) this.#log.release(this.#exportableEnd);
    this.#checkExpired(this.#droppedEnd, this.#log.oldestSequence);
    this.#droppedEnd = Math.max(this.#droppedEnd, this.#log.oldestSequence);
    this.#tell();
  }

  /** Where nothing but expiry deletes, nothing goes whose time is not over. */
  #checkExpired(from: number, to: number): void {
    const { timeToLiveMs } = this.#scenario.policy;
    if (timeToLiveMs === undefined) return;
    for (let sequence = from; sequence < to; sequence++) {
      const ageMs = this.#clock.monotonicMs() - this.candidates.get(sequence)!.at(-1)!.arrivedMs;
      this.#count("expired");
      if (ageMs <= timeToLiveMs) throw new Error(`message ${sequence} is gone after ${ageMs} ms`);
    }
  }

  run(): WorkloadRecord {
    for (let step = 0; step < this.#scenario.steps; step++) {
      this.#append();
      const dice = this.#random.fraction();
      if (this.#scenario.policy.flushOnWrite ? dice < 0.7 : dice < 0.2) this.#sync();
      if (this.#random.fraction() < 0.6) this.#step(() => this.storage.completeSyncs());
      if (this.#random.fraction() < 0.15) this.#pass(1100);
      if (this.#scenario.policy.timeToLiveMs !== undefined) this.#passMinutes();
      if (this.#scenario.rewriteBlockBytes !== undefined) this.#rewrite(this.#random.between(0, 6));
    }
    this.#step(() => this.storage.completeSyncs());
    this.#pass(1100);
    this.#step(() => this.storage.completeSyncs());
    this.#pass(1100);
    this.#heal();
    this.#rewrite(Infinity);
    const { storage, candidates, outcomes } = this;
    const { policy, faults, rewriteBlockBytes } = this.#scenario;
    const isEverFull = [...faults.values()].some((fault) => fault.code === "ENOSPC");
    return { storage, candidates, told: this.#told, outcomes, policy, isEverFull, rewriteBlockBytes };
  }

  /** Slices of rewriting, as the worker has time for them. */
  #rewrite(slicesMax: number): void {
    for (let left = slicesMax; left > 0; left--) {
      const slice = this.#rewriteSlice();
      if (slice === "idle" || (slice === "waiting" && slicesMax < Infinity)) return;
      if (slice === "waiting") this.#step(() => this.storage.completeSyncs());
    }
  }

  #rewriteSlice(): RewriteSlice {
    let slice: RewriteSlice | undefined;
    this.#step(() => {
      slice = this.#log.rewrites?.slice(() => undefined);
    });
    return slice ?? "idle";
  }

  /** A storage that works again is written to again, by itself and without a restart. */
  #heal(): void {
    this.storage.heal();
    for (let waits = 0; waits < 3; waits++) {
      this.#pass(STORAGE_PROBE_MS_MAX);
      this.#step(() => this.storage.completeSyncs());
    }
    const end = this.#log.nextSequence;
    this.#append();
    this.#sync();
    this.#step(() => this.storage.completeSyncs());
    const isBack = this.#log.nextSequence > end && this.#durableEnd === this.#log.nextSequence;
    if (!isBack) throw new Error(`the log is ${this.#log.state} after the faults have ended`);
  }

  /** Now and then the wall clock leaps to where nobody can believe it, stays there for a while, and comes back. */
  #passMinutes(): void {
    const dice = this.#random.fraction();
    const trueWallMs = new ManualClock().nowMs() + this.#clock.monotonicMs();
    if (dice < 0.1) this.#clock.setWall(8000);
    else if (dice < 0.2) this.#clock.setWall(trueWallMs + WALL_LEAP_MS);
    else if (dice < 0.4) this.#clock.setWall(trueWallMs);
    const minutes = this.#random.fraction() < 0.5 ? this.#random.between(1, 8) : 0;
    for (let minute = 0; minute < minutes; minute++) {
      this.#pass(60_000);
      this.#step(() => this.storage.completeSyncs());
    }
  }

  #pass(ms: number): void {
    this.#clock.advance(ms);
    this.#step(() => this.#log.tick());
  }

  #payloads(): string[] {
    const count = this.#random.between(1, 4);
    return Array.from({ length: count }, () => {
      const fillerBytes = this.#random.between(5, this.#scenario.fillerBytesMax ?? 450);
      const filler = Buffer.from(this.#random.bytes(fillerBytes)).toString("hex");
      return `message ${this.#payloadCount++} ${filler}`;
    });
  }

  #append(): void {
    const payloads = this.#payloads();
    const builder = blockOf(payloads, this.#log.ingestMs);
    const firstSequence = this.#log.nextSequence;
    const added = this.#propose(payloads, firstSequence);
    this.#step(() => {
      try {
        this.#log.admit(builder.payloadBytes + MESSAGE_OVERHEAD_BYTES * builder.messageCount);
        this.#log.append(builder);
        this.#appendedEnd = this.#log.nextSequence;
        this.#count("ok");
      } catch (error) {
        if (!(error instanceof MillraceError)) throw error;
        this.#count(error.code);
        // UNKNOWN may be stored; everything else says that it is not and never will be.
        if (error.code !== "UNKNOWN_OUTCOME") {
          for (const candidate of added) candidate.toOperation = this.storage.operations.length;
        }
      }
    });
  }

  #propose(payloads: readonly string[], firstSequence: number): Candidate[] {
    return payloads.map((payload, offset) => {
      const candidate: Candidate = {
        payload,
        fromOperation: this.storage.operations.length,
        toOperation: Infinity,
        batchStart: firstSequence,
        batchEnd: firstSequence + payloads.length,
        arrivedMs: this.#clock.monotonicMs(),
      };
      const sequence = firstSequence + offset;
      this.candidates.set(sequence, [...(this.candidates.get(sequence) ?? []), candidate]);
      return candidate;
    });
  }

  #sync(): void {
    const end = this.#log.nextSequence;
    this.#step(() =>
      this.#log.sync((error) => {
        this.#count(error === undefined ? "synced" : `sync ${error.code}`);
        if (error !== undefined) return;
        this.#durableEnd = Math.max(this.#durableEnd, end);
        // Promised at this moment, in the middle of whatever call brought it.
        this.#tell();
      }),
    );
  }

  #count(outcome: string): void {
    this.outcomes.set(outcome, (this.outcomes.get(outcome) ?? 0) + 1);
  }
}

export function runWorkload(scenario: Scenario, seams: Seams = soundSeams): WorkloadRecord {
  return new WorkloadRun(scenario, seams).run();
}
