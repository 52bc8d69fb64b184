import { type LedgerChange, LedgerChangeKind } from "../core/stream-ledger.ts";
import { EventName } from "../observe/events.ts";
import type { Logger } from "../observe/logger.ts";
import { damageFields, type RecoveryNote } from "../stream/recovery-notes.ts";
import type { StreamProxy } from "../stream/stream-proxy.ts";
import type { StreamEntry } from "./stream-entry.ts";

/** The main thread's copy of a ledger follows; damage is said too, once, for it comes up when it is met. */
export function followLedger(entry: StreamEntry | undefined, change: LedgerChange, logger: Logger): void {
  if (entry === undefined) return;
  entry.account.onLoss(change);
  if (change.kind !== LedgerChangeKind.Damage) return;
  const { definition, streamId } = entry;
  const fields = { stream: definition.name, streamId, ...damageFields(change.loss) };
  logger.warn(EventName.StreamDamaged, fields);
}

/** What a start found of a stream: a line each. Damage that it counted first is told as such, as damage that is met later is. */
export function tellRecovery(entry: StreamEntry, notes: readonly RecoveryNote[], logger: Logger): void {
  const stream = entry.definition.name;
  const { streamId } = entry;
  for (const note of notes) {
    const event = note.kind === "damaged" ? EventName.StreamDamaged : EventName.StreamRecovered;
    logger.warn(event, { stream, streamId, ...note });
  }
}

/**
 * Has the stream's own worker read where an exporter could not: it takes note of damage that it meets. Without an answer, the
 * exporter's next look comes to it again.
 */
export function lookAtGap(proxy: Pick<StreamProxy, "read">, slot: number, fromSequence: number): void {
  const nobody = { onFailed: () => undefined };
  proxy.read(nobody, { slot, fromSequence, min: 1, max: 1, bytesMax: 1, timeoutMs: 0 });
}
