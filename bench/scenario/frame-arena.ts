import { MESSAGE_LENGTH_BYTES } from "../../src/core/message-framing.ts";
import {
  APPEND_BATCH_HANDLE_AT,
  APPEND_BATCH_HEADER_BYTES,
  APPEND_BATCH_PRODUCER_SEQUENCE_AT,
  APPEND_BATCH_REQUEST_ID_AT,
  encodeAppendBatch,
} from "../../src/wire/append-batch-layout.ts";
import { writeU32, writeU64 } from "../../src/wire/little-endian.ts";

const MASK_KEY_BYTES = 4;

/**
 * AppendBatch frames, each already inside its WebSocket frame, in one piece of memory: sending is rewriting request ids and
 * one write, so that the driver takes little of the machine that it measures. Frames are sent in turn, again and again; the
 * caller must not have all of them in flight.
 */
export class FrameArena {
  readonly bytes: Buffer;
  readonly frameCount: number;
  /** Messages and payload bytes of each frame. */
  readonly messageCounts: readonly number[];
  readonly payloadBytes: readonly number[];
  readonly #starts: readonly number[];
  readonly #requestIdsAt: readonly number[];
  readonly #hasProducer: boolean;

  constructor(options: {
    messages: readonly Uint8Array[];
    handle: number;
    /** Upper bound of each AppendBatch frame; one message a frame when undefined. */
    batchBytes: number | undefined;
    /** The number of frames is a multiple of this. */
    framesPerWrite: number;
    /** Every batch names this producer. */
    producerId?: number | undefined;
  }) {
    const { handle, producerId } = options;
    const producer = producerId === undefined ? undefined : { id: producerId, sequence: 0 };
    this.#hasProducer = producer !== undefined;
    const batches = cutBatches(options.messages, options.batchBytes);
    batches.length -= batches.length % options.framesPerWrite;
    if (batches.length === 0) throw new Error("the data set is too small for one write");
    const pieces: Uint8Array[] = [];
    const starts: number[] = [];
    const requestIdsAt: number[] = [];
    let at = 0;
    for (const messages of batches) {
      const frame = encodeAppendBatch({ handle, requestId: 0, messages, ...(producer && { producer }) });
      const header = encodeWebSocketHeader(frame.length);
      starts.push(at);
      requestIdsAt.push(at + header.length + APPEND_BATCH_REQUEST_ID_AT);
      pieces.push(header, frame);
      at += header.length + frame.length;
    }
    starts.push(at);
    this.bytes = Buffer.concat(pieces);
    this.frameCount = batches.length;
    this.messageCounts = batches.map((messages) => messages.length);
    this.payloadBytes = batches.map((messages) => messages.reduce((sum, message) => sum + message.length, 0));
    this.#starts = starts;
    this.#requestIdsAt = requestIdsAt;
  }

  setRequestId(frame: number, requestId: number): void {
    writeU32(this.bytes, this.#requestIdsAt[frame]!, requestId);
  }

  /** Directs a frame to another stream of the connection. */
  setHandle(frame: number, handle: number): void {
    const start = this.#requestIdsAt[frame]! - APPEND_BATCH_REQUEST_ID_AT;
    writeU32(this.bytes, start + APPEND_BATCH_HANDLE_AT, handle);
  }

  /** Makes a frame the `number`-th batch of its producer, the first being 0; nothing where none is named. */
  setBatchNumber(frame: number, number: number): void {
    if (!this.#hasProducer) return;
    const start = this.#requestIdsAt[frame]! - APPEND_BATCH_REQUEST_ID_AT;
    writeU64(this.bytes, start + APPEND_BATCH_PRODUCER_SEQUENCE_AT, number);
  }

  /** One frame without what WebSocket puts in front: a view, as `view`. */
  message(frame: number): Buffer {
    const at = this.#requestIdsAt[frame]! - APPEND_BATCH_REQUEST_ID_AT;
    return this.bytes.subarray(at, this.#starts[frame + 1]);
  }

  /** The bytes of frames `from` to `end - 1`: a view, which must be on the wire before its request ids change. */
  view(from: number, end: number): Buffer {
    return this.bytes.subarray(this.#starts[from], this.#starts[end]);
  }
}

function cutBatches(messages: readonly Uint8Array[], batchBytes: number | undefined): Uint8Array[][] {
  if (batchBytes === undefined) return messages.map((message) => [message]);
  const batches: Uint8Array[][] = [];
  let batch: Uint8Array[] = [];
  let sizeBytes = APPEND_BATCH_HEADER_BYTES;
  for (const message of messages) {
    const addedBytes = MESSAGE_LENGTH_BYTES + message.length;
    if (sizeBytes + addedBytes > batchBytes) {
      batches.push(batch);
      batch = [];
      sizeBytes = APPEND_BATCH_HEADER_BYTES;
    }
    batch.push(message);
    sizeBytes += addedBytes;
  }
  // A last batch that is not full would make the cases uneven.
  return batches;
}

/** RFC 6455 5.2: a final binary frame of a client. The masking key is zero, which leaves the payload as it is. */
export function encodeWebSocketHeader(payloadBytes: number): Buffer {
  const isShort = payloadBytes < 126;
  const isMedium = !isShort && payloadBytes <= 0xffff;
  const lengthAt = 2;
  const maskAt = isShort ? lengthAt : isMedium ? lengthAt + 2 : lengthAt + 8;
  const header = Buffer.alloc(maskAt + MASK_KEY_BYTES);
  header[0] = 0x82;
  header[1] = 0x80 | (isShort ? payloadBytes : isMedium ? 126 : 127);
  if (isMedium) header.writeUInt16BE(payloadBytes, lengthAt);
  else if (!isShort) header.writeBigUInt64BE(BigInt(payloadBytes), lengthAt);
  return header;
}
