import { crc32 } from "node:zlib";

import { assert } from "../core/assert.ts";
import { MESSAGE_LENGTH_BYTES, readLength } from "../core/message-framing.ts";
import type { LossRange, StreamPlace } from "../core/stream-ledger.ts";
import type { BatchRun } from "./block-builder.ts";
import { blockEndSequence, type BlockHeader } from "./block-layout.ts";
import { decodeFrame } from "./lz4-frame.ts";

/** Ingest times of consecutive messages. */
export interface IngestRun {
  messageCount: number;
  readonly ingestMs: number;
}

export type GapReason = "CORRUPT" | "MISSING";

/** What a read gives: messages as `u32 LE length, bytes` back to back, or the sequence numbers that are not there. */
export type LogSlice =
  | {
      readonly kind: "messages";
      readonly firstSequence: number;
      /** Of the first one. */
      readonly payloadOffset: number;
      readonly messageCount: number;
      /** A view of the block, whose memory nobody writes to again. */
      readonly raw: Uint8Array;
      readonly runs: readonly IngestRun[];
    }
  | {
      readonly kind: "gap";
      readonly fromSequence: number;
      /** Exclusive. */
      readonly toSequence: number;
      readonly reason: GapReason;
    };

/** How much of a read is left to give. */
export interface ReadBudget {
  messageCount: number;
  bytes: number;
}

/** One message as it is stored. */
export interface StoredMessage {
  readonly sequence: number;
  readonly ingestMs: number;
  /** A view. */
  readonly payload: Uint8Array;
}

/** One block's messages, checked, with the place of the last read kept so that small reads in a row do not start over. */
export class DecodedBlock {
  readonly firstSequence: number;
  readonly messageCount: number;
  readonly #payloadOffset: number;
  readonly #raw: Buffer;
  readonly #runs: readonly BatchRun[];
  #cursorIndex = 0;
  #cursorOffset = 0;

  constructor(header: BlockHeader, raw: Buffer) {
    this.firstSequence = header.firstSequence;
    this.messageCount = header.messageCount;
    this.#payloadOffset = header.payloadOffset;
    this.#raw = raw;
    this.#runs = header.runs;
  }

  get endSequence(): number {
    return this.firstSequence + this.messageCount;
  }
  /** All its messages, `u32 LE length, bytes` each. A view. */
  get raw(): Buffer {
    return this.#raw;
  }
  get runs(): readonly BatchRun[] {
    return this.#runs;
  }

  /**
   * Messages from `sequence` up to `endSequence`, as many as the budget allows; the budget is reduced. `force` gives one
   * even if it does not fit. @returns undefined when none fits
   */
  slice(
    sequence: number,
    endSequence: number,
    budget: ReadBudget,
    options: { readonly force: boolean },
  ): LogSlice | undefined {
    const start = this.#seek(sequence - this.firstSequence);
    const countMax = Math.min(endSequence, this.endSequence) - sequence;
    let offset = start;
    let count = 0;
    while (count < countMax && count < budget.messageCount) {
      const sizeBytes = MESSAGE_LENGTH_BYTES + readLength(this.#raw, offset);
      if (offset + sizeBytes - start > budget.bytes && !(options.force && count === 0)) break;
      offset += sizeBytes;
      count += 1;
    }
    if (count === 0) return undefined;
    this.#cursorIndex = sequence - this.firstSequence + count;
    this.#cursorOffset = offset;
    budget.messageCount -= count;
    budget.bytes -= offset - start;
    const raw = this.#raw.subarray(start, offset);
    const runs = this.#ingestRuns(sequence - this.firstSequence, count);
    const payloadOffset = this.#payloadOffsetOf(sequence - this.firstSequence, start);
    return { kind: "messages", firstSequence: sequence, payloadOffset, messageCount: count, raw, runs };
  }

  /** All of its messages. */
  get range(): LossRange {
    return {
      fromSequence: this.firstSequence,
      fromPayloadOffset: this.#payloadOffset,
      toSequence: this.endSequence,
      toPayloadOffset: this.#payloadOffsetOf(this.messageCount, this.#raw.length),
    };
  }

  /** The place of one of its messages. */
  placeOf(sequence: number): StreamPlace {
    const index = sequence - this.firstSequence;
    return { sequence, payloadOffset: this.#payloadOffsetOf(index, this.#seek(index)) };
  }

  #payloadOffsetOf(index: number, rawOffset: number): number {
    return this.#payloadOffset + rawOffset - MESSAGE_LENGTH_BYTES * index;
  }

  /** Every message, in order. */
  *messages(): Generator<StoredMessage, void, undefined> {
    let sequence = this.firstSequence;
    let at = 0;
    for (const { messageCount, ingestMs } of this.#runs) {
      for (let left = messageCount; left > 0; left--) {
        const start = at + MESSAGE_LENGTH_BYTES;
        at = start + readLength(this.#raw, at);
        yield { sequence, ingestMs, payload: this.#raw.subarray(start, at) };
        sequence += 1;
      }
    }
  }

  #seek(index: number): number {
    assert(index >= 0 && index < this.messageCount, `message ${index} of a block of ${this.messageCount}`);
    if (index < this.#cursorIndex) {
      this.#cursorIndex = 0;
      this.#cursorOffset = 0;
    }
    while (this.#cursorIndex < index) {
      this.#cursorOffset += MESSAGE_LENGTH_BYTES + readLength(this.#raw, this.#cursorOffset);
      this.#cursorIndex += 1;
    }
    return this.#cursorOffset;
  }

  #ingestRuns(firstIndex: number, count: number): IngestRun[] {
    const runs: IngestRun[] = [];
    let index = 0;
    for (const run of this.#runs) {
      const from = Math.max(index, firstIndex);
      const to = Math.min(index + run.messageCount, firstIndex + count);
      if (from < to) {
        const last = runs.at(-1);
        if (last?.ingestMs === run.ingestMs) last.messageCount += to - from;
        else runs.push({ messageCount: to - from, ingestMs: run.ingestMs });
      }
      index += run.messageCount;
    }
    return runs;
  }
}

/** Why the stored bytes of a block cannot be trusted. */
export type BodyProblem = "STORED_CRC" | "LZ4" | "RAW_CRC" | "FRAMING";

/**
 * Decodes the stored bytes of a block after both checksums and the framing of every message have been checked (R8).
 * @returns undefined when they are damaged
 */
export function decodeBody(header: BlockHeader, body: Buffer): DecodedBlock | undefined {
  const decoded = inspectBody(header, body);
  return typeof decoded === "string" ? undefined : decoded;
}

/** As `decodeBody`, with the first check that fails. */
export function inspectBody(header: BlockHeader, body: Buffer): DecodedBlock | BodyProblem {
  if (body.length !== header.storedBytes || crc32(body) !== header.storedCrc) return "STORED_CRC";
  let raw: Buffer;
  try {
    raw = decodeFrame(body, header.rawBytes);
  } catch {
    return "LZ4";
  }
  if (crc32(raw) !== header.rawCrc) return "RAW_CRC";
  if (!isFramed(raw, header.messageCount)) return "FRAMING";
  assert(blockEndSequence(header) > header.firstSequence, "a block holds messages");
  return new DecodedBlock(header, raw);
}

/** Whether `raw` is whole messages, so that a walk over them stays inside. An empty payload is no concern of the log. */
function isFramed(raw: Buffer, messageCount: number): boolean {
  let at = 0;
  for (let left = messageCount; left > 0; left--) {
    if (at + MESSAGE_LENGTH_BYTES > raw.length) return false;
    at += MESSAGE_LENGTH_BYTES + readLength(raw, at);
  }
  return at === raw.length;
}
