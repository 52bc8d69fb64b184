import { StreamLog } from "../../src/log/stream-log.ts";
import { ManualClock, SeededRandom } from "../support/deterministic.ts";
import { blockOf, logOptions, readAll, rewriteAll, STREAM_DIRECTORY } from "../support/log-fixture.ts";
import { crashStates, type Operation, type SimStorage } from "../support/sim-storage.ts";
import { boots, outlive } from "./expiry-check.ts";
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
  /** Every n-th killed process has a successor whose power is cut behind some of its operations; 1: behind all of each. */
  readonly successorEvery: number;
  /** Operations behind which there always is one, cut behind all of its operations. */
  readonly succeedAfter?: (operation: Operation) => boolean;
  readonly statesMax: number;
  /** One in so many operations is followed by a crash, and the last unless this is Infinity. */
  readonly crashEvery: number;
  /** Operations that are always followed by a crash. */
  readonly crashAfter?: (operation: Operation) => boolean;
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
/** Of the operations of a killed process's successor; over many states all are seen. */
const SUCCESSOR_SHARE = 0.25;

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
  let kills = 0;
  for (let operation = 2; operation < operations; operation++) {
    const isLast = operation === operations - 1 && options.crashEvery < Infinity;
    const isChosen = random.fraction() * options.crashEvery < 1;
    const isMeant = options.crashAfter?.(storage.operations[operation]!) === true;
    if (!isLast && !isChosen && !isMeant) continue;
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
      if (state.isKillOnly) kills += 1;
      const isWhole = options.succeedAfter?.(storage.operations[operation]!) === true;
      const isSucceeded = state.isKillOnly && (kills % options.successorEvery === 0 || isWhole);
      const share = isWhole || options.successorEvery === 1 ? 1 : SUCCESSOR_SHARE;
      const broken =
        check.run(state.storage, isAppended, isNested ? random : undefined) ??
        (isSucceeded ? check.cutSuccessor(random, share) : undefined);
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
      const broken = this.#outlive(original.copy()) ?? this.#recoverAndAppend(storage);
      if (broken !== undefined || nested === undefined) return broken;
      return this.#crashRecovery(original, nested);
    } catch (error) {
      return `recovery: ${textOf(error)}`;
    }
  }

  #open(storage: SimStorage, epoch: number, clock = new ManualClock()): StreamLog {
    const { policy, rewriteBlockBytes } = this.#record;
    const wrapped = this.#seams.wrap(storage);
    const random = new SeededRandom(epoch * 7919 + this.#operation);
    const watch = this.#seams.watch(clock);
    const options = { policy, rewriteBlockBytes, epoch, random, clock, watch };
    return StreamLog.open(logOptions(wrapped, options)).log;
  }

  /** With a time to live: on whatever clock the machine comes up, nothing goes early, and in the end everything. */
  #outlive(storage: SimStorage): string | undefined {
    const { policy, candidates } = this.#record;
    const { timeToLiveMs } = policy;
    if (timeToLiveMs === undefined) return undefined;
    const { trueMs, wallMs } = this.#told;
    const choices = boots(wallMs);
    const boot = choices[this.#operation % choices.length]!;
    const clock = new ManualClock(boot.wallMs);
    const broken = outlive({
      storage,
      clock,
      log: this.#open(storage, 2, clock),
      boot,
      crashWallMs: wallMs,
      crashTrueMs: trueMs,
      timeToLiveMs,
      arrivedMs: (sequence, payload) =>
        candidates.get(sequence)!.find((candidate) => candidate.payload === payload)!.arrivedMs,
      reopen: (again) => this.#open(again, 3, clock),
    });
    return broken === undefined
      ? undefined
      : `started at ${boot.wallMs}, ${boot.offMs} ms later, with ${wallMs} before: ${broken}`;
  }

  #recoverAndAppend(storage: SimStorage): string | undefined {
    const log = this.#open(storage, 2);
    const broken = this.#compare(log);
    if (broken !== undefined) return broken;
    // What was recovered is rewritten, takes appends, and both are there at the next start.
    const before = readAll(log, log.oldestSequence, log.nextSequence).messages;
    rewriteAll(log, storage);
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
    const unbalanced = this.#checkLedger(log, messages);
    if (unbalanced !== undefined) return unbalanced;
    for (const [sequence, message] of messages) {
      const broken = this.#checkMessage(sequence, message, nextSequence);
      if (broken !== undefined) return broken;
    }
    return undefined;
  }

  /** Every message that was appended has one account, and what retention did not delete is there. */
  #checkLedger(log: StreamLog, messages: ReadonlyMap<number, string>): string | undefined {
    let payloadBytes = 0;
    for (const message of messages.values()) payloadBytes += message.length;
    const appended = { messages: log.nextSequence, payloadBytes: log.nextPayloadOffset };
    const stored = log.ledger.stored(appended);
    if (stored.messages !== messages.size || stored.payloadBytes !== payloadBytes) {
      const held = `${messages.size} messages of ${payloadBytes} bytes`;
      return `accounts for ${stored.messages} messages of ${stored.payloadBytes} bytes, holds ${held}`;
    }
    const { accounts, drops } = log.ledger.snapshot;
    // Without room for the account a deletion comes first.
    const isExcused = this.#record.isEverFull;
    if (!isExcused && accounts.damaged.messages > 0) {
      return `has lost the account of a deletion: ${JSON.stringify(drops)}`;
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

  /**
   * The next process goes on with what the kernel shows it, which is not all that the medium has or ever will have. Then the
   * power is cut behind one of its operations, or a share of them: what it had told to be durable by then is there, and what the
   * first one had.
   */
  cutSuccessor(random: SeededRandom, share: number): string | undefined {
    const storage = this.#record.storage.killedAt(this.#operation);
    if (!hasStream(storage)) return undefined;
    const told: { readonly operation: number; readonly end: number }[] = [];
    const tell = (end: number): void => {
      told.push({ operation: storage.operations.length - 1, end });
    };
    try {
      const log = this.#open(storage, 2);
      tell(log.syncedEndSequence);
      log.append(blockOf([`after the kill ${"x".repeat(100)}`]));
      log.sync(() => tell(log.syncedEndSequence));
      storage.completeSyncs();
      rewriteAll(log, storage);
      const { messages } = readAll(log, log.oldestSequence, log.nextSequence);
      for (let operation = 0; operation < storage.operations.length; operation++) {
        if (random.fraction() >= share) continue;
        const durableEnd = told.findLast((one) => one.operation <= operation)?.end ?? 0;
        const crash = { random: () => random.fraction(), randomSubsets: 1, garbleBytes: 0 };
        for (const state of crashStates(storage, operation, crash)) {
          const broken = this.#compareThird(this.#open(state.storage, 3), durableEnd, messages);
          if (broken === undefined) continue;
          const { kind, note } = storage.operations[operation]!;
          return `next process, behind its ${kind} ${String(note)} (${operation}), ${state.label}: ${broken}`;
        }
      }
    } catch (error) {
      return `next process: ${textOf(error)}`;
    }
    return undefined;
  }

  #compareThird(
    log: StreamLog,
    durableEnd: number,
    messages: ReadonlyMap<number, string>,
  ): string | undefined {
    const mustReach = Math.max(durableEnd, this.#told.durableEnd, this.#told.exportableEnd);
    const { oldestSequence, nextSequence } = log;
    if (nextSequence < mustReach) return `${mustReach} acknowledged, recovered up to ${nextSequence}`;
    if (oldestSequence > this.#told.droppedEnd)
      return `begins at ${oldestSequence}, dropped below ${this.#told.droppedEnd}`;
    const found = readAll(log, oldestSequence, nextSequence);
    if (found.gaps.length > 0) return `a gap that nobody damaged: ${JSON.stringify(found.gaps[0])}`;
    for (const [at, message] of found.messages) {
      // Of what the next process held no more, a power cut may give something back.
      const held = messages.get(at);
      if (at < mustReach && held !== undefined && held !== message) return `message ${at} is not what it was`;
    }
    return this.#checkLedger(log, found.messages);
  }

  /** Recovery itself dies at one of its operations, and is run again. */
  #crashRecovery(first: SimStorage, random: SeededRandom): string | undefined {
    rewriteAll(this.#open(first, 2), first);
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
