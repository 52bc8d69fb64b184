import { assert } from "../core/assert.ts";
import { MillraceError } from "../core/errors.ts";
import { APPEND_RESULTS_PER_FRAME_MAX, ERROR_TEXT_BYTES_MAX } from "../core/limits.ts";
import { readU16, readU32, readU64, writeU16, writeU32, writeU64 } from "./little-endian.ts";
import { Operation } from "./operation.ts";
import { decodeText, encodeTextCut } from "./text.ts";

/*
 * AppendBatchResult (67): the answers to several AppendBatch requests, in the order of the requests of each stream.
 * Little-endian.
 *
 *   0   1   2       4            8        12              20 ...
 *   +---+---+-------+------------+--------+---------------+-- more results --+--------------------------------
 *   |op | 0 | count | requestId  | status | firstSequence | 16 bytes each    | per status not 0: u16 bytes, text
 *   +---+---+-------+------------+--------+---------------+------------------+--------------------------------
 *
 * firstSequence belongs to the first message of the batch, the others follow it. With the status SequenceGap it is the
 * producerSequence that was expected, 0 if the producer is not known; with any other that is not 0 it is 0. The texts stand in the
 * order of the results that they belong to.
 */
const RESULTS_AT = 4;
export const APPEND_RESULT_BYTES = 16;
const RESULTS_INITIAL = 64;

export interface AppendBatchResult {
  readonly requestId: number;
  readonly status: number;
  readonly firstSequence: number;
  /** Empty when the status is 0. */
  readonly errorMessage: string;
}

/** Gathers the results of one connection until they are sent. Allocates only when it grows and when a frame is taken. */
export class AppendResultWriter {
  #bytes = new Uint8Array(RESULTS_AT + RESULTS_INITIAL * APPEND_RESULT_BYTES);
  #count = 0;
  #texts: Uint8Array[] = [];

  get count(): number {
    return this.#count;
  }

  /** True when `take` must be called before the next `add`. */
  get isFull(): boolean {
    return this.#count === APPEND_RESULTS_PER_FRAME_MAX;
  }

  addSuccess(requestId: number, firstSequence: number): void {
    this.#add(requestId, 0, firstSequence);
  }

  /** `expectedSequence` belongs to a gap. */
  addFailure(requestId: number, status: number, errorMessage: string, expectedSequence = 0): void {
    assert(status !== 0, "a failure has a status");
    this.#add(requestId, status, expectedSequence);
    this.#texts.push(encodeTextCut(errorMessage, ERROR_TEXT_BYTES_MAX));
  }

  /** One frame with all results since the last call, a buffer of its own; the writer starts again. */
  take(): Uint8Array {
    assert(this.#count > 0, "there are results to take");
    const resultsEnd = RESULTS_AT + this.#count * APPEND_RESULT_BYTES;
    let textBytes = 0;
    for (const text of this.#texts) textBytes += 2 + text.length;
    const frame = new Uint8Array(resultsEnd + textBytes);
    frame.set(this.#bytes.subarray(0, resultsEnd));
    frame[0] = Operation.AppendBatchResult;
    writeU16(frame, 2, this.#count);
    let at = resultsEnd;
    for (const text of this.#texts) {
      writeU16(frame, at, text.length);
      frame.set(text, at + 2);
      at += 2 + text.length;
    }
    this.#count = 0;
    if (this.#texts.length > 0) this.#texts = [];
    return frame;
  }

  #add(requestId: number, status: number, firstSequence: number): void {
    assert(!this.isFull, "a full writer was taken before");
    const at = RESULTS_AT + this.#count * APPEND_RESULT_BYTES;
    if (at + APPEND_RESULT_BYTES > this.#bytes.length) {
      const grown = new Uint8Array(RESULTS_AT + (this.#bytes.length - RESULTS_AT) * 2);
      grown.set(this.#bytes);
      this.#bytes = grown;
    }
    writeU32(this.#bytes, at, requestId);
    writeU32(this.#bytes, at + 4, status);
    writeU64(this.#bytes, at + 8, firstSequence);
    this.#count++;
  }
}

/**
 * Calls `onResult` for each result, in order. The frame is checked whole before the first call.
 * @throws {MillraceError} MALFORMED_FRAME
 */
export function decodeAppendBatchResult(
  frame: Uint8Array,
  onResult: (requestId: number, status: number, firstSequence: number, errorMessage: string) => void,
): void {
  const count = frame.length >= RESULTS_AT ? readU16(frame, 2) : 0;
  const resultsEnd = RESULTS_AT + count * APPEND_RESULT_BYTES;
  if (count === 0 || frame.length < resultsEnd) throw malformed(frame, count);
  let textAt = resultsEnd;
  for (let index = 0; index < count; index++) {
    const at = RESULTS_AT + index * APPEND_RESULT_BYTES;
    readU64(frame, at + 8);
    if (readU32(frame, at + 4) === 0) continue;
    if (textAt + 2 > frame.length) throw malformed(frame, count);
    const textEnd = textAt + 2 + readU16(frame, textAt);
    if (textEnd > frame.length) throw malformed(frame, count);
    decodeText(frame, textAt + 2, textEnd);
    textAt = textEnd;
  }
  if (textAt !== frame.length) throw malformed(frame, count);

  textAt = resultsEnd;
  for (let index = 0; index < count; index++) {
    const at = RESULTS_AT + index * APPEND_RESULT_BYTES;
    const status = readU32(frame, at + 4);
    let errorMessage = "";
    if (status !== 0) {
      const textEnd = textAt + 2 + readU16(frame, textAt);
      errorMessage = decodeText(frame, textAt + 2, textEnd);
      textAt = textEnd;
    }
    onResult(readU32(frame, at), status, readU64(frame, at + 8), errorMessage);
  }
}

function malformed(frame: Uint8Array, count: number): MillraceError {
  return new MillraceError(
    "MALFORMED_FRAME",
    `Cannot decode AppendBatchResult: ${frame.length} bytes for ${count} results`,
  );
}
