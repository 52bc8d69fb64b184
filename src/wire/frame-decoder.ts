import { MillraceError } from "../core/errors.ts";
import { FRAME_BYTES_MAX_PROTOCOL, OVERSIZE_PREFIX_BYTES } from "../core/limits.ts";

/*
 * Frames over TCP (PROTOCOL 1.3). Big-endian.
 *
 *   0        4     5
 *   +--------+-----+-----------------+
 *   | L      | op  | payload         |     L = 1 + bytes of payload: it counts the operation, not itself
 *   +--------+-----+-----------------+
 *
 * A frame outside this file is `op, payload`: over WebSocket one binary message is one frame, without L.
 */
export const FRAME_HEADER_BYTES = 4;
/** An operation and at least one byte of payload: an empty payload kills two of the official clients. */
const FRAME_BYTES_MIN = 2;
/** A partial frame gets a buffer of this size and grows with what arrives, so that announcing bytes costs the peer those bytes. */
const PARTIAL_BYTES_MIN = 64 * 1024;

/** One buffer with length, operation and payload, to be written by one write. */
export function encodeFrame(operation: number, payload: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(FRAME_HEADER_BYTES + 1 + payload.length);
  writeLength(bytes, payload.length + 1);
  bytes[FRAME_HEADER_BYTES] = operation;
  bytes.set(payload, FRAME_HEADER_BYTES + 1);
  return bytes;
}

/** The same for a frame that already starts with its operation. */
export function prefixFrame(frame: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(FRAME_HEADER_BYTES + frame.length);
  writeLength(bytes, frame.length);
  bytes.set(frame, FRAME_HEADER_BYTES);
  return bytes;
}

/** The 4 bytes that go before `frameBytes` bytes, for a caller that writes both with one writev. */
export function frameHeader(frameBytes: number): Uint8Array {
  const bytes = new Uint8Array(FRAME_HEADER_BYTES);
  writeLength(bytes, frameBytes);
  return bytes;
}

function writeLength(bytes: Uint8Array, length: number): void {
  bytes[0] = length >>> 24;
  bytes[1] = length >>> 16;
  bytes[2] = length >>> 8;
  bytes[3] = length;
}

/** A frame over the server's limit, reported once and then skipped. */
export interface OversizeFrame {
  readonly operation: number;
  readonly frameBytes: number;
  /** The first bytes of the frame, operation first: enough to find the request id. */
  readonly prefix: Uint8Array;
}

export type FrameListener = (frame: Uint8Array) => void;
export type OversizeListener = (frame: OversizeFrame) => void;

/** Cuts a byte stream into frames, whatever the sizes of its segments. */
export class FrameDecoder {
  readonly #frameBytesMax: number;
  readonly #header = new Uint8Array(FRAME_HEADER_BYTES);
  #headerBytes = 0;
  /** Length of the frame being collected; 0 while its header is not complete. */
  #frameBytes = 0;
  #partial: Uint8Array = new Uint8Array(0);
  #partialBytes = 0;
  /** Bytes of an oversize frame that are still to be thrown away, after it was reported. */
  #skipBytes = 0;
  #skippedBytes = 0;

  constructor(options: { frameBytesMax: number }) {
    this.#frameBytesMax = options.frameBytesMax;
  }

  /** Bytes of oversize frames that were thrown away so far. */
  get skippedBytes(): number {
    return this.#skippedBytes;
  }

  /** Bytes held for a frame that is not complete, and whether a frame has begun at all: 0 means between frames. */
  get pendingBytes(): number {
    if (this.#skipBytes > 0) return this.#skipBytes;
    return this.#headerBytes + this.#partialBytes;
  }

  /**
   * Takes the next bytes. Each frame is a view, of `chunk` or of a buffer that is used again: valid during the call only.
   * @throws {MillraceError} MALFORMED_FRAME or FRAME_TOO_LARGE when the stream cannot be followed any more: close the connection
   */
  push(chunk: Uint8Array, onFrame: FrameListener, onOversize: OversizeListener): void {
    let at = 0;
    while (at < chunk.length) {
      if (this.#skipBytes > 0) {
        const count = Math.min(this.#skipBytes, chunk.length - at);
        this.#skipBytes -= count;
        this.#skippedBytes += count;
        at += count;
      } else if (this.#frameBytes === 0) {
        at = this.#takeHeader(chunk, at, onFrame);
      } else {
        at = this.#takePartial(chunk, at, onFrame, onOversize);
      }
    }
  }

  #takeHeader(chunk: Uint8Array, start: number, onFrame: FrameListener): number {
    let at = start;
    while (this.#headerBytes < FRAME_HEADER_BYTES && at < chunk.length) {
      this.#header[this.#headerBytes++] = chunk[at++]!;
    }
    if (this.#headerBytes < FRAME_HEADER_BYTES) return at;
    const [b0, b1, b2, b3] = this.#header;
    // Read as signed, as PROTOCOL 1.3 has it: a top bit set is a negative length, refused below.
    const length = (b0! << 24) | (b1! << 16) | (b2! << 8) | b3!;
    if (length < FRAME_BYTES_MIN) {
      throw new MillraceError(
        "MALFORMED_FRAME",
        `Cannot decode frame: announced length ${length}, the minimum is ${FRAME_BYTES_MIN}`,
      );
    }
    if (length > FRAME_BYTES_MAX_PROTOCOL) {
      throw new MillraceError(
        "FRAME_TOO_LARGE",
        `Cannot decode frame: announced length ${length}, the maximum is ${FRAME_BYTES_MAX_PROTOCOL}`,
      );
    }
    // Most frames arrive whole: they are handed on where they lie.
    if (length <= this.#frameBytesMax && at + length <= chunk.length) {
      this.#headerBytes = 0;
      onFrame(chunk.subarray(at, at + length));
      return at + length;
    }
    this.#frameBytes = length;
    return at;
  }

  #takePartial(
    chunk: Uint8Array,
    start: number,
    onFrame: FrameListener,
    onOversize: OversizeListener,
  ): number {
    const frameBytes = this.#frameBytes;
    const isOversize = frameBytes > this.#frameBytesMax;
    const wantedBytes = isOversize ? Math.min(frameBytes, OVERSIZE_PREFIX_BYTES) : frameBytes;
    const count = Math.min(wantedBytes - this.#partialBytes, chunk.length - start);
    this.#reserve(this.#partialBytes + count, wantedBytes);
    this.#partial.set(chunk.subarray(start, start + count), this.#partialBytes);
    this.#partialBytes += count;
    if (this.#partialBytes === wantedBytes) {
      const frame = this.#partial.subarray(0, wantedBytes);
      this.#reset();
      if (isOversize) {
        this.#skipBytes = frameBytes - wantedBytes;
        onOversize({ operation: frame[0]!, frameBytes, prefix: frame });
      } else {
        onFrame(frame);
      }
      // A large buffer is not kept for the next frame: a thousand connections would each hold one.
      if (this.#partial.length > PARTIAL_BYTES_MIN) this.#partial = new Uint8Array(0);
    }
    return start + count;
  }

  #reserve(neededBytes: number, wantedBytes: number): void {
    if (neededBytes <= this.#partial.length) return;
    const grown = Math.max(this.#partial.length * 2, PARTIAL_BYTES_MIN, neededBytes);
    const bytes = new Uint8Array(Math.min(grown, wantedBytes));
    bytes.set(this.#partial.subarray(0, this.#partialBytes));
    this.#partial = bytes;
  }

  #reset(): void {
    this.#headerBytes = 0;
    this.#frameBytes = 0;
    this.#partialBytes = 0;
  }
}
