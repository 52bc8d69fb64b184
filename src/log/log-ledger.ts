import { type Clock, wallMs } from "../core/clock.ts";
import { LEDGER_RETRY_MS } from "../core/limits.ts";
import {
  emptyLedger,
  type LedgerChange,
  LedgerChangeKind,
  type LedgerSnapshot,
  type LedgerView,
  LossReason,
  type LossRange,
  type MessageTotals,
  rangeOf,
  StreamLedger,
  type StreamLoss,
  type StreamPlace,
} from "../core/stream-ledger.ts";
import { isFull } from "./append-refusals.ts";
import type { LedgerFile } from "./ledger-file.ts";
import type { LedgerRecord, UncleanEnd } from "./ledger-layout.ts";
import type { FoundBlock } from "./read-slices.ts";
import type { RecoveryReport } from "./recovery-report.ts";

export interface LogLedgerOptions {
  readonly clock: Clock;
  readonly file: LedgerFile;
  readonly streamId: Buffer;
  /** Everything below is durable at the time of the call. */
  readonly knownEnd: () => StreamPlace;
  /** What the file held at the start. */
  readonly record?: LedgerRecord | undefined;
}

/**
 * The account of one stream's log. What is deleted is counted on the medium first: a crash in between leaves files that the
 * account no longer knows, and the next start removes them. Damage is counted where it is met, and written soon after.
 */
export class LogLedger {
  readonly #options: LogLedgerOptions;
  #ledger: StreamLedger;
  #lastUncleanEnd: UncleanEnd | undefined;
  #changes: LedgerChange[] = [];
  /** The file does not say all of it; `isUrgent`: it should before long. */
  #isDirty = false;
  #isUrgent = false;
  #retryAtMs = 0;

  constructor(options: LogLedgerOptions) {
    this.#options = options;
    this.#ledger = new StreamLedger(options.record?.snapshot ?? emptyLedger);
    this.#lastUncleanEnd = options.record?.lastUncleanEnd;
  }

  get droppedEnd(): StreamPlace {
    return this.#ledger.droppedEnd;
  }
  get snapshot(): LedgerSnapshot {
    return this.#ledger.snapshot;
  }
  get lastUncleanEnd(): UncleanEnd | undefined {
    return this.#lastUncleanEnd;
  }
  stored(appended: MessageTotals): MessageTotals {
    return this.#ledger.stored(appended);
  }
  isDamagedAt(sequence: number): boolean {
    return this.#ledger.isDamagedAt(sequence);
  }

  /** There will be something to delete: from now on a full medium is no reason not to. What fails is tried again then. */
  prepare(): void {
    if (this.#options.file.isThere) return;
    this.#isDirty = true;
    this.#isUrgent = true;
    this.flush();
  }

  /**
   * Counts everything from the oldest message up to `end` as gone, durably: the log deletes it next. Without any room on the
   * medium it is counted in memory only, for the deletion makes some. @throws the system's error: nothing was counted
   */
  drop(reason: LossReason, end: StreamPlace): void {
    const next = new StreamLedger(this.#ledger.snapshot);
    const change = this.#addDrop(next, reason, end);
    if (change === undefined) return;
    this.#write(next);
    this.#ledger = next;
    this.#changes.push(change);
  }

  /**
   * Writes the account again, as durably as `drop` does: what a start finds in the file may be in the kernel only.
   * @throws the system's error
   */
  confirm(): void {
    this.#write(this.#ledger);
  }

  /** Nothing is left of what was below `oldest`, and no account says why. */
  noteMissing(oldest: StreamPlace, reason: LossReason = LossReason.Missing): void {
    const change = this.#addDrop(this.#ledger, reason, oldest);
    if (change === undefined) return;
    this.#changes.push(change);
    this.#noteChange();
  }

  #addDrop(ledger: StreamLedger, reason: LossReason, end: StreamPlace): LedgerChange | undefined {
    const from = ledger.droppedEnd;
    if (end.sequence === from.sequence) return undefined;
    const loss: StreamLoss = { reason, ...rangeOf(from, end), timeMs: this.#nowMs };
    ledger.addDrop(loss);
    return { kind: LedgerChangeKind.Drop, loss };
  }

  /** Messages that cannot be read. @returns what was not known before */
  noteDamage(reason: LossReason, range: LossRange): StreamLoss[] {
    if (!this.#ledger.hasRoomForDamage) return [];
    const added = this.#ledger.addDamage({ reason, ...range, timeMs: this.#nowMs });
    for (const loss of added) this.#changes.push({ kind: LedgerChangeKind.Damage, loss });
    if (added.length > 0) this.#noteChange();
    return added;
  }

  /** What a start has found. `oldest`: where the stream begins for it. */
  noteRecovered(report: Pick<RecoveryReport, "corrupt" | "missing" | "dataLoss">, oldest: StreamPlace): void {
    for (const range of report.corrupt) this.noteDamage(LossReason.Corrupt, range);
    for (const range of report.missing) this.noteDamage(LossReason.Missing, range);
    if (report.dataLoss === undefined) return;
    this.noteDamage(LossReason.Lost, report.dataLoss);
    // Without a segment before it, nothing is left to stand in front of the loss.
    this.noteMissing(oldest, LossReason.Lost);
  }

  /**
   * A read of the log: what it cannot give is noted, and what counted as damaged and can be read after all. `gapAround` gives
   * the known places around a message in the gap: with a mark between damaged blocks, one gap is several such stretches.
   */
  noteRead(sequence: number, found: FoundBlock, gapAround: (sequence: number) => LossRange): void {
    if (found.kind === "block") {
      if (this.#ledger.hasDamage) this.#restore(found.block.range);
      return;
    }
    const { toSequence } = found;
    // A gap that was known may have grown.
    if (!this.#ledger.hasRoomForDamage || this.#ledger.isDamagedThrough(sequence, toSequence)) return;
    const reason = found.reason === "MISSING" ? LossReason.Missing : LossReason.Corrupt;
    for (let at = sequence; at < toSequence;) {
      const range = gapAround(at);
      this.noteDamage(reason, range);
      at = Math.max(at + 1, range.toSequence);
    }
  }

  #restore(range: LossRange): void {
    const restored = this.#ledger.restore(range);
    for (const loss of restored) this.#changes.push({ kind: LedgerChangeKind.Restored, loss });
    if (restored.length > 0) this.#noteChange();
  }

  /** The next start finds out by itself, unless this one ends cleanly: so it is written with the next change, or at the end. */
  noteUncleanEnd(end: Omit<UncleanEnd, "timeMs">): void {
    this.#lastUncleanEnd = { ...end, timeMs: this.#nowMs };
    this.#isDirty = true;
  }

  get #nowMs(): number {
    return wallMs(this.#options.clock);
  }

  #noteChange(): void {
    this.#isDirty = true;
    this.#isUrgent = true;
  }

  /** Writes what was noted since the last time, if it is time to. What fails is tried again later. */
  flush(): void {
    const { clock } = this.#options;
    if (this.#isUrgent && clock.monotonicMs() >= this.#retryAtMs) this.#tryWrite();
  }

  /** Writes all that is not written. */
  close(): void {
    if (this.#isDirty) this.#tryWrite();
  }

  #tryWrite(): void {
    try {
      this.#write(this.#ledger);
    } catch {
      // Lost with this process it is found again, or counted as missing: a ledger never stops its stream.
      this.#retryAtMs = this.#options.clock.monotonicMs() + LEDGER_RETRY_MS;
    }
  }

  #write(ledger: StreamLedger): void {
    const { file, streamId, knownEnd } = this.#options;
    try {
      const { snapshot } = ledger;
      file.write({ streamId, snapshot, knownEnd: knownEnd(), lastUncleanEnd: this.#lastUncleanEnd });
      this.#isDirty = false;
      this.#isUrgent = false;
    } catch (error) {
      this.#noteChange();
      if (!isFull(error)) throw error;
      this.#retryAtMs = this.#options.clock.monotonicMs() + LEDGER_RETRY_MS;
    }
  }

  get hasChanges(): boolean {
    return this.#changes.length > 0;
  }

  /** What happened since the last call, in order. */
  takeChanges(): LedgerChange[] {
    const changes = this.#changes;
    this.#changes = [];
    return changes;
  }
}

/** For whoever shows the ledger, or keeps a copy of it. */
export type LogLedgerView = LedgerView & Pick<LogLedger, "hasChanges" | "takeChanges" | "lastUncleanEnd">;
