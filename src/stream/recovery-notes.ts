import type { RecoveryReport, SequenceRange } from "../log/log-recovery.ts";

/** What recovery found beyond a clean end, a sentence each; nothing for a stream that was whole. */
export function recoveryNotes(report: RecoveryReport): string[] {
  const notes: string[] = [];
  if (report.tornTailBytes > 0) notes.push(`cut a torn tail of ${report.tornTailBytes} bytes`);
  for (const range of report.corrupt) notes.push(`skips damaged messages ${rangeText(range)}`);
  for (const range of report.missing)
    notes.push(`misses messages ${rangeText(range)}, which no segment holds`);
  if (report.dataLoss !== undefined) notes.push(`lost acknowledged messages ${rangeText(report.dataLoss)}`);
  for (const path of report.unreadable) notes.push(`leaves ${path} alone: it has no valid header`);
  return notes;
}

function rangeText({ fromSequence, toSequence }: SequenceRange): string {
  return `${fromSequence} to ${toSequence - 1}`;
}
