import type { MillraceError } from "../core/errors.ts";
import type { LedgerChange } from "../core/stream-ledger.ts";
import type { RingSender } from "../ring/ring-sender.ts";
import {
  APPENDED_ENTRY_BYTES,
  APPENDED_FLAG_REPEAT,
  APPENDED_HEAD_BYTES,
  GAP_BYTES,
  type GapReason,
  RECORDS_FLAG_LAST,
  RECORDS_HEAD_BYTES,
  RECORDS_RUN_BYTES,
  type StreamProgress,
  UpRecord,
  encodeFailed,
  encodeLoss,
  encodeProgress,
} from "./stream-channel.ts";

const APPENDED_ENTRIES_MAX = 4096;

export interface MessageRun {
  readonly messageCount: number;
  readonly ingestMs: number;
}

export interface RecordsHead {
  readonly token: number;
  readonly isLast: boolean;
  readonly firstSequence: number;
  readonly durableEnd: number;
  readonly messageCount: number;
  readonly runs: readonly MessageRun[];
}

/** The worker's half of the upward ring: gathers appended outcomes into one record, and encodes the others. */
export class UpSender {
  readonly #sender: RingSender;
  readonly #beforeOutcomes: () => void;
  readonly #wakeReader: () => void;
  readonly #appended = Buffer.alloc(APPENDED_HEAD_BYTES + APPENDED_ENTRIES_MAX * APPENDED_ENTRY_BYTES);
  #appendedCount = 0;
  #isWakeDue = false;

  /** `beforeOutcomes` sends what whoever is told an outcome must find true already. */
  constructor(sender: RingSender, hooks: { beforeOutcomes: () => void; wakeReader: () => void }) {
    this.#sender = sender;
    this.#beforeOutcomes = hooks.beforeOutcomes;
    this.#wakeReader = hooks.wakeReader;
  }

  /** False while the main thread has not taken what was sent: reads and pushes wait then. */
  get isClear(): boolean {
    return this.#sender.isClear;
  }

  /** Whether there is anything that `flush` has not sent yet, or of which the reader was not woken. */
  get isFlushDue(): boolean {
    return this.#appendedCount > 0 || this.#isWakeDue;
  }

  appended(token: number, firstSequence: number, { isRepeat }: { isRepeat: boolean }): void {
    const at = APPENDED_HEAD_BYTES + this.#appendedCount * APPENDED_ENTRY_BYTES;
    this.#appended.writeUInt32LE(token, at);
    this.#appended.writeUInt32LE(isRepeat ? APPENDED_FLAG_REPEAT : 0, at + 4);
    this.#appended.writeDoubleLE(firstSequence, at + 8);
    this.#appendedCount += 1;
    if (this.#appendedCount === APPENDED_ENTRIES_MAX) this.flushAppended();
  }

  flushAppended(): void {
    if (this.#appendedCount === 0) return;
    this.#beforeOutcomes();
    this.#appended.writeUInt32LE(this.#appendedCount, 0);
    const lengthBytes = APPENDED_HEAD_BYTES + this.#appendedCount * APPENDED_ENTRY_BYTES;
    this.#appendedCount = 0;
    this.#send(UpRecord.Appended, this.#appended.subarray(0, lengthBytes));
  }

  failed(token: number, error: MillraceError): void {
    this.flushAppended();
    this.#send(UpRecord.Failed, encodeFailed(token, error));
  }

  progress(slot: number, progress: StreamProgress): void {
    this.#send(UpRecord.Progress, encodeProgress(slot, progress));
  }

  loss(slot: number, change: LedgerChange): void {
    this.#send(UpRecord.Loss, encodeLoss(slot, change));
  }

  records(head: RecordsHead, messages: Uint8Array): void {
    const bytes = Buffer.alloc(RECORDS_HEAD_BYTES + head.runs.length * RECORDS_RUN_BYTES);
    bytes.writeUInt32LE(head.token, 0);
    bytes.writeUInt32LE(head.isLast ? RECORDS_FLAG_LAST : 0, 4);
    bytes.writeDoubleLE(head.firstSequence, 8);
    bytes.writeDoubleLE(head.durableEnd, 16);
    bytes.writeUInt32LE(head.messageCount, 24);
    bytes.writeUInt32LE(head.runs.length, 28);
    let at = RECORDS_HEAD_BYTES;
    for (const run of head.runs) {
      bytes.writeUInt32LE(run.messageCount, at);
      bytes.writeDoubleLE(run.ingestMs, at + 8);
      at += RECORDS_RUN_BYTES;
    }
    this.#send(UpRecord.Records, bytes, messages);
  }

  gap(token: number, reason: GapReason, fromSequence: number, toSequence: number): void {
    const bytes = Buffer.alloc(GAP_BYTES);
    bytes.writeUInt32LE(token, 0);
    bytes.writeUInt32LE(reason, 4);
    bytes.writeDoubleLE(fromSequence, 8);
    bytes.writeDoubleLE(toSequence, 16);
    this.#send(UpRecord.Gap, bytes);
  }

  /** Sends what the ring could not take before, then wakes the reader once for all of it. @returns true when all is sent. */
  flush(): boolean {
    this.flushAppended();
    const isClear = this.#sender.flush();
    this.#isWakeDue = false;
    this.#wakeReader();
    return isClear;
  }

  #send(type: UpRecord, head: Uint8Array, body?: Uint8Array): void {
    this.#isWakeDue = true;
    this.#sender.send(type, head, body);
  }
}
