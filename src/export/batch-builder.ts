import { assert } from "../core/assert.ts";
import { LossReason, type StreamLoss, type StreamPlace } from "../core/stream-ledger.ts";
import type { LogSlice } from "../log/decoded-block.ts";
import type { PendingBatch, PendingEntry } from "./delivery.ts";
import type { DestinationLimits, ExportRecord } from "./destinations/destination.ts";

export interface ReadBatch {
  readonly kind: "batch";
  readonly pending: PendingBatch;
  /** What goes out, by the sequence numbers of the entries. */
  readonly records: ReadonlyMap<number, ExportRecord>;
}

/** Gathers a batch message by message, and holds the account of what it passes over together. */
export class BatchBuilder {
  readonly #limits: DestinationLimits;
  readonly #nowMs: number;
  readonly #from: StreamPlace;
  readonly #entries: PendingEntry[] = [];
  readonly #gaps: StreamLoss[] = [];
  readonly #records = new Map<number, ExportRecord>();
  #requestBytes = 0;
  #sequence: number;
  #payloadOffset: number;
  /** The reason of a gap whose end in bytes is not known yet: what follows it says. */
  #openReason: LossReason | undefined;
  #openFrom = 0;

  constructor(from: StreamPlace, { limits, nowMs }: { limits: DestinationLimits; nowMs: number }) {
    this.#from = from;
    this.#limits = limits;
    this.#nowMs = nowMs;
    this.#sequence = from.sequence;
    this.#payloadOffset = from.payloadOffset;
  }

  get at(): StreamPlace {
    return { sequence: this.#sequence, payloadOffset: this.#payloadOffset };
  }

  get entryCount(): number {
    return this.#entries.length;
  }

  get hasOpenGap(): boolean {
    return this.#openReason !== undefined;
  }

  get isEmpty(): boolean {
    return this.#sequence === this.#from.sequence;
  }

  /** What is gone from the front, up to `to`. */
  pass(losses: readonly StreamLoss[], to: StreamPlace): void {
    this.#gaps.push(...losses);
    this.#sequence = to.sequence;
    this.#payloadOffset = to.payloadOffset;
  }

  openGap({ fromSequence, toSequence, reason }: LogSlice & { kind: "gap" }): void {
    assert(fromSequence === this.#sequence, `a gap from ${fromSequence} where ${this.#sequence} was due`);
    if (this.#openReason === undefined) this.#openFrom = fromSequence;
    // Two that touch are one: only its ends are known places.
    if (this.#openReason !== LossReason.Corrupt)
      this.#openReason = reason === "CORRUPT" ? LossReason.Corrupt : LossReason.Missing;
    this.#sequence = toSequence;
  }

  /** The log goes on at this place; if it is not where the account stands, there is a gap between, if only of bytes. */
  goOnAt(place: StreamPlace): void {
    const { sequence, payloadOffset } = place;
    assert(sequence === this.#sequence, `message ${sequence} came where ${this.#sequence} was due`);
    if (this.#openReason !== undefined || payloadOffset !== this.#payloadOffset) {
      this.#gaps.push({
        reason: this.#openReason ?? LossReason.Missing,
        fromSequence: this.#openReason === undefined ? sequence : this.#openFrom,
        toSequence: sequence,
        fromPayloadOffset: this.#payloadOffset,
        toPayloadOffset: payloadOffset,
        timeMs: this.#nowMs,
      });
    }
    this.#openReason = undefined;
    this.#payloadOffset = payloadOffset;
  }

  hasRoom(costBytes: number, max: { messageCountMax: number; requestBytesMax: number }): boolean {
    if (this.#records.size === 0) return true;
    return this.#records.size < max.messageCountMax && this.#requestBytes + costBytes <= max.requestBytesMax;
  }

  /** `content` is what goes out of it; it may be a view of a block that nobody writes to. */
  add(record: ExportRecord, content: ExportRecord, costBytes: number): void {
    this.#push(record, { fate: "waiting" });
    this.#records.set(record.sequence, content);
    this.#requestBytes += costBytes;
  }

  skip(record: ExportRecord): void {
    this.#push(record, { fate: LossReason.Skipped });
  }

  /** No request can hold it. */
  condemn(record: ExportRecord, { data }: ExportRecord): void {
    const { recordBytesMax, recordOverheadBytes } = this.#limits;
    const sizeBytes = data.length;
    const error = `${sizeBytes} bytes, and ${recordBytesMax - recordOverheadBytes} is the limit`;
    this.#push(record, { fate: "condemned", error });
  }

  #push({ sequence, data }: ExportRecord, what: Pick<PendingEntry, "fate" | "error">): void {
    assert(sequence === this.#sequence, `message ${sequence} came where ${this.#sequence} was due`);
    this.#entries.push({ sequence, bytes: data.length, refusals: 0, ...what });
    this.#sequence += 1;
    this.#payloadOffset += data.length;
  }

  build(): ReadBatch {
    return {
      kind: "batch",
      pending: {
        end: this.at,
        entries: this.#entries,
        gaps: this.#gaps,
        suspects: 0,
        acceptances: 0,
      },
      records: this.#records,
    };
  }
}
