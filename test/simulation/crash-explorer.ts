import { StreamLog } from "../../src/log/stream-log.ts";
import { ManualClock, SeededRandom } from "../support/deterministic.ts";
import { blockOf, logOptions, readAll, STREAM_DIRECTORY } from "../support/log-fixture.ts";
import { crashStates, type SimStorage } from "../support/sim-storage.ts";
import {
  runWorkload,
  type Scenario,
  type Seams,
  soundSeams,
  type Told,
  type WorkloadRecord,
} from "./workload.ts";

export interface ExplorerOptions {
  readonly seams?: Seams;
  readonly seed: number;
  readonly randomSubsets: number;
  /** Every n-th state is also appended to and recovered again. */
  readonly appendEvery: number;
  /** Every n-th state is also crashed while it recovers; a multiple of appendEvery. */
  readonly nestedEvery: number;
  readonly statesMax: number;
  /** One in so many operations is followed by a crash, and the last unless this is Infinity. */
  readonly crashEvery: number;
}

export interface ExplorerResult {
  readonly states: number;
  readonly operations: number;
  /** Faults of the scenario that struck. */
  readonly faultCount: number;
  /** The first promise that was broken, with the state that broke it. */
  readonly violation: string | undefined;
  readonly outcomes: ReadonlyMap<string, number>;
}

/** A device without power-safe overwrite destroys the unit that it was writing. */
const GARBLE_BYTES = 4096;

/**
 * Runs a workload on the real log, cuts the power (or kills the process) behind every operation in every way that the
 * storage's model allows, recovers with the real code, and holds the result against what had been promised by then.
 */
export function explore(scenario: Scenario, options: ExplorerOptions): ExplorerResult {
  const seams = options.seams ?? soundSeams;
  let record: WorkloadRecord;
  try {
    record = runWorkload(scenario, seams);
  } catch (error) {
    return {
      states: 0,
      operations: 0,
      faultCount: 0,
      violation: `${scenario.name}, seed ${scenario.seed}: workload: ${textOf(error)}`,
      outcomes: new Map(),
    };
  }
  const random = new SeededRandom(options.seed);
  const { storage, outcomes } = record;
  const { faultCount } = storage;
  const operations = storage.operations.length;
  let states = 0;
  for (let operation = 2; operation < operations; operation++) {
    const isLast = operation === operations - 1 && options.crashEvery < Infinity;
    const isCrashed = isLast || random.fraction() * options.crashEvery < 1;
    if (!isCrashed) continue;
    const told = record.told[operation]!;
    const crash = {
      randomSubsets: options.randomSubsets,
      garbleBytes: GARBLE_BYTES,
      random: () => random.fraction(),
    };
    for (const state of crashStates(storage, operation, crash)) {
      states += 1;
      const check = new StateCheck(record, seams, operation, told, state.isKillOnly);
      const isNested = states % options.nestedEvery === 0;
      const isAppended = states % options.appendEvery === 0;
      const broken = check.run(state.storage, isAppended, isNested ? random : undefined);
      if (broken !== undefined) {
        const { kind, note } = storage.operations[operation]!;
        const at = `operation ${operation} (${kind} ${typeof note === "string" ? note : JSON.stringify(note)})`;
        const violation = `${scenario.name}, seed ${scenario.seed}: after ${at}, ${state.label}: ${broken}`;
        return { states, operations, faultCount, violation, outcomes };
      }
      if (states >= options.statesMax)
        return { states, operations, faultCount, violation: undefined, outcomes };
    }
  }
  return { states, operations, faultCount, violation: undefined, outcomes };
}

/** One crash state: recover it, compare, go on appending, recover again; perhaps crash in the middle of recovering. */
class StateCheck {
  readonly #record: WorkloadRecord;
  readonly #seams: Seams;
  readonly #operation: number;
  readonly #told: Told;
  readonly #isKillOnly: boolean;

  constructor(record: WorkloadRecord, seams: Seams, operation: number, told: Told, isKillOnly: boolean) {
    this.#record = record;
    this.#seams = seams;
    this.#operation = operation;
    this.#told = told;
    this.#isKillOnly = isKillOnly;
  }

  run(storage: SimStorage, isAppended: boolean, nested: SeededRandom | undefined): string | undefined {
    // A stream whose creation was not finished was never promised.
    if (!hasStream(storage)) return this.#told.appendedEnd > 0 ? "the stream's directory is gone" : undefined;
    const original = storage.copy();
    try {
      if (!isAppended) return this.#compare(this.#open(storage, 2));
      const broken = this.#recoverAndAppend(storage);
      if (broken !== undefined || nested === undefined) return broken;
      return this.#crashRecovery(original, nested);
    } catch (error) {
      return `recovery: ${textOf(error)}`;
    }
  }

  #open(storage: SimStorage, epoch: number): StreamLog {
    const { policy } = this.#record;
    const wrapped = this.#seams.wrap(storage);
    const random = new SeededRandom(epoch * 7919 + this.#operation);
    return StreamLog.open(logOptions(wrapped, { policy, epoch, random, clock: new ManualClock() })).log;
  }

  #recoverAndAppend(storage: SimStorage): string | undefined {
    const log = this.#open(storage, 2);
    const broken = this.#compare(log);
    if (broken !== undefined) return broken;
    // What was recovered takes appends, and both are there at the next start.
    const before = readAll(log, log.oldestSequence, log.nextSequence).messages;
    const extra = `after recovery ${"x".repeat(100)}`;
    const sequence = log.append(blockOf([extra]));
    const outcomes: boolean[] = [];
    log.sync((error) => outcomes.push(error === undefined));
    storage.completeSyncs();
    if (outcomes[0] !== true) return "a sync after recovery failed";
    const again = this.#open(storage.copy(), 3);
    if (again.nextSequence !== sequence + 1) {
      return `recovered up to ${sequence}, appended one, recovered again up to ${again.nextSequence}`;
    }
    const { messages, gaps } = readAll(again, again.oldestSequence, again.nextSequence);
    if (gaps.length > 0) return `a gap after recovering twice: ${JSON.stringify(gaps[0])}`;
    if (messages.get(sequence) !== extra) return "the message appended after recovery is not what it was";
    for (const [at, message] of before) {
      if (messages.get(at) !== message) return `message ${at} changed between two recoveries`;
    }
    return undefined;
  }

  /** The log against the promises. */
  #compare(log: StreamLog): string | undefined {
    const { durableEnd, appendedEnd, exportableEnd, droppedEnd } = this.#told;
    const { oldestSequence, nextSequence, syncedEndSequence } = log;
    const { messages, gaps } = readAll(log, oldestSequence, nextSequence);
    if (gaps.length > 0) return `a gap that nobody damaged: ${JSON.stringify(gaps[0])}`;
    if (oldestSequence > droppedEnd) return `begins at ${oldestSequence}, dropped below ${droppedEnd}`;
    const mustReach = this.#isKillOnly ? appendedEnd : durableEnd;
    if (nextSequence < mustReach) return `${mustReach} acknowledged, recovered up to ${nextSequence}`;
    if (nextSequence < exportableEnd)
      return `exported below ${exportableEnd}, recovered up to ${nextSequence}`;
    if (syncedEndSequence !== nextSequence)
      return `recovered up to ${nextSequence}, synced ${syncedEndSequence}`;
    for (const [sequence, message] of messages) {
      const broken = this.#checkMessage(sequence, message, nextSequence);
      if (broken !== undefined) return broken;
    }
    return undefined;
  }

  #checkMessage(sequence: number, message: string, nextSequence: number): string | undefined {
    const possible = (this.#record.candidates.get(sequence) ?? []).filter(
      (candidate) =>
        candidate.fromOperation <= this.#operation + 1 && candidate.toOperation > this.#operation,
    );
    const found = possible.find((candidate) => candidate.payload === message);
    if (found === undefined) return `message ${sequence} was never sent there: ${message.slice(0, 40)}`;
    if (found.batchEnd > nextSequence) return `half a batch: up to ${nextSequence} of ${found.batchEnd}`;
    // An outcome that stayed unknown may come back, but never in place of what was acknowledged.
    const isAcknowledged = sequence < (this.#isKillOnly ? this.#told.appendedEnd : this.#told.durableEnd);
    if (isAcknowledged && found !== possible.at(-1))
      return `message ${sequence} is an older, unacknowledged one`;
    return undefined;
  }

  /** Recovery itself dies at one of its operations, and is run again. */
  #crashRecovery(first: SimStorage, random: SeededRandom): string | undefined {
    this.#open(first, 2);
    for (let operation = 0; operation < first.operations.length; operation++) {
      const crash = { random: () => random.fraction(), randomSubsets: 1, garbleBytes: 0 };
      for (const state of crashStates(first, operation, crash)) {
        const broken = this.#recoverAndAppend(state.storage);
        if (broken !== undefined) {
          return `recovery killed behind its operation ${operation}, ${state.label}: ${broken}`;
        }
      }
    }
    return undefined;
  }
}

function hasStream(storage: SimStorage): boolean {
  try {
    storage.list(STREAM_DIRECTORY);
    return true;
  } catch {
    return false;
  }
}

function textOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return error.cause instanceof Error ? `${error.message}: ${error.cause.message}` : error.message;
}
