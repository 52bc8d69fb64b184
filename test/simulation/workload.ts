import { MillraceError } from "../../src/core/errors.ts";
import { MESSAGE_OVERHEAD_BYTES, STORAGE_PROBE_MS_MAX } from "../../src/core/limits.ts";
import type { Storage } from "../../src/log/storage.ts";
import type { LogPolicy } from "../../src/log/log-policy.ts";
import { StreamLog } from "../../src/log/stream-log.ts";
import { ManualClock, SeededRandom } from "../support/deterministic.ts";
import { blockOf, logOptions } from "../support/log-fixture.ts";
import { type Faults, SimStorage } from "../support/sim-storage.ts";

/** What is planted between the log and its storage, or between the log and its exporters. */
export interface Seams {
  readonly wrap: (storage: SimStorage) => Storage;
  /** Up to where the workload lets exporters read. */
  readonly exporterBound: (log: StreamLog) => number;
}

export const soundSeams: Seams = {
  wrap: (storage) => storage,
  exporterBound: (log) => log.syncedEndSequence,
};

export interface Scenario {
  readonly name: string;
  readonly seed: number;
  readonly steps: number;
  readonly policy: LogPolicy;
  readonly faults: Faults;
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
}

/** A message that may stand at its sequence number between two operations. */
export interface Candidate {
  readonly payload: string;
  readonly fromOperation: number;
  toOperation: number;
  /** Messages of one batch: all or none. */
  readonly batchStart: number;
  readonly batchEnd: number;
}

export interface WorkloadRecord {
  readonly storage: SimStorage;
  readonly candidates: Map<number, Candidate[]>;
  /** By operation: what had been told once it was done. */
  readonly told: Told[];
  readonly outcomes: Map<string, number>;
  readonly policy: LogPolicy;
}

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
        random: this.#random,
        policy: scenario.policy,
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
    };
    this.storage.mark(told);
    const count = this.storage.operations.length;
    // Within a call, deletions may have been done that are told only now; promises hold from now on.
    while (this.#told.length < count - 1) {
      const before = this.#told.at(-1) ?? { durableEnd: 0, appendedEnd: 0, exportableEnd: 0, droppedEnd: 0 };
      this.#told.push({ ...before, droppedEnd: this.#droppedEnd });
    }
    this.#told.push(told);
  }

  #step(action: () => void): void {
    action();
    this.#exportableEnd = Math.max(this.#exportableEnd, this.#seams.exporterBound(this.#log));
    this.#droppedEnd = Math.max(this.#droppedEnd, this.#log.oldestSequence);
    this.#tell();
  }

  run(): WorkloadRecord {
    for (let step = 0; step < this.#scenario.steps; step++) {
      this.#append();
      const dice = this.#random.fraction();
      if (this.#scenario.policy.flushOnWrite ? dice < 0.7 : dice < 0.2) this.#sync();
      if (this.#random.fraction() < 0.6) this.#step(() => this.storage.completeSyncs());
      if (this.#random.fraction() < 0.15) this.#pass(1100);
    }
    this.#step(() => this.storage.completeSyncs());
    this.#pass(1100);
    this.#step(() => this.storage.completeSyncs());
    this.#pass(1100);
    this.#heal();
    const { storage, candidates, outcomes } = this;
    return { storage, candidates, told: this.#told, outcomes, policy: this.#scenario.policy };
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

  #pass(ms: number): void {
    this.#clock.advance(ms);
    this.#step(() => this.#log.tick());
  }

  #payloads(): string[] {
    const count = this.#random.between(1, 4);
    return Array.from({ length: count }, () => {
      const filler = Buffer.from(this.#random.bytes(this.#random.between(5, 450))).toString("hex");
      return `message ${this.#payloadCount++} ${filler}`;
    });
  }

  #append(): void {
    const payloads = this.#payloads();
    const builder = blockOf(payloads, this.#clock.nowMs());
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
