import {
  accountOf,
  type LedgerChange,
  LedgerChangeKind,
  LossReason,
  type StreamLoss,
} from "../core/stream-ledger.ts";
import type { RecoveryReport, SequenceRange } from "../log/recovery-report.ts";

/** What is said of a start, in a log line and by `store repair`. */
export interface RecoveryNote {
  /** damaged: messages that no start has counted before. */
  readonly kind: "recovered" | "torn-tail" | "quarantined" | "damaged";
  readonly reason: string;
  /** The first message that it concerns, and how many there are. */
  readonly sequence?: number;
  readonly count?: number;
  readonly sizeBytes?: number;
  /** Of a segment its name; of what was kept, relative to the store. */
  readonly path?: string;
}

/** What recovery found beyond a clean end, a sentence each; nothing for a stream that was whole. */
export function recoveryNotes(report: RecoveryReport): RecoveryNote[] {
  const notes: RecoveryNote[] = [];
  const add = (reason: string, fields: Partial<RecoveryNote> = {}): void =>
    void notes.push({ kind: "recovered", reason, ...fields });
  const { tornTailBytes: sizeBytes, dataLoss } = report;
  if (sizeBytes > 0) add(`cut a torn tail of ${sizeBytes} bytes`, { kind: "torn-tail", sizeBytes });
  for (const range of report.corrupt) add(`skips damaged messages ${rangeText(range)}`, countOf(range));
  for (const range of report.missing)
    add(`misses messages ${rangeText(range)}, which no segment holds`, countOf(range));
  if (dataLoss !== undefined) add(`lost acknowledged messages ${rangeText(dataLoss)}`, countOf(dataLoss));
  for (const path of report.unreadable) add(`leaves ${path} alone: it has no valid header`, { path });
  for (const path of report.restored) add(`made the header of ${path} anew from its blocks`, { path });
  for (const path of report.quarantined)
    add(`keeps the bytes that were there in ${path}`, { kind: "quarantined", path });
  for (const path of report.setAside)
    add(`set ${path} aside: it does not verify, what it was made from is there`, { path });
  if (report.isProducersFileDamaged)
    add("cannot read what was remembered of its producers: knows those that its messages name");
  if (report.hasLostLedger) add("begins its ledger again: the old one cannot be read");
  return notes;
}

/** Messages that an opening has counted as damaged, and none before it. */
export function damageNotes(changes: readonly LedgerChange[]): RecoveryNote[] {
  return changes.flatMap(({ kind, loss }): RecoveryNote[] => {
    const isDamage = kind !== LedgerChangeKind.Restored && accountOf(loss.reason) === "damaged";
    return isDamage ? [{ kind: "damaged", ...damageFields(loss) }] : [];
  });
}

function countOf({ fromSequence, toSequence }: SequenceRange): { sequence: number; count: number } {
  return { sequence: fromSequence, count: toSequence - fromSequence };
}

/** What a log line says of messages that cannot be read. */
export function damageFields(loss: StreamLoss): { sequence: number; count: number; reason: string } {
  const { fromSequence, toSequence, reason } = loss;
  return { sequence: fromSequence, count: toSequence - fromSequence, reason: damageTexts[reason] ?? "gone" };
}

const damageTexts: Readonly<Partial<Record<LossReason, string>>> = {
  [LossReason.Corrupt]: "the stored bytes do not verify",
  [LossReason.Missing]: "no segment holds them",
  [LossReason.Lost]: "they were durable, and the log ended before them",
};

function rangeText({ fromSequence, toSequence }: SequenceRange): string {
  return `${fromSequence} to ${toSequence - 1}`;
}
