import { MillraceError } from "../core/errors.ts";
import {
  APPEND_BATCH_BYTES_MAX,
  APPEND_BATCH_MESSAGES_MAX,
  LZ4_BLOCK_RAW_BYTES_MAX,
  LZ4_RATIO_MAX,
  MESSAGE_BYTES_MAX_DEFAULT,
} from "../core/limits.ts";
import { MESSAGE_LENGTH_BYTES } from "../core/message-framing.ts";
import { readU32, readU64, writeU32, writeU64 } from "./little-endian.ts";
import { Operation } from "./operation.ts";

/*
 * AppendBatch (66): several messages for one stream, stored all or none. Little-endian.
 *
 *   0   1       2     4        8           12        16             20            28                36
 *   +---+-------+-----+--------+-----------+---------+--------------+-------------+-----------------+----------
 *   |op | flags | 0   | handle | requestId | rawSize | messageCount | [producerId | producerSequence] | messages
 *   +---+-------+-----+--------+-----------+---------+--------------+-------------+-----------------+----------
 *
 *   messages, in order:  u32 length, then that many bytes (at least 1)
 *   rawSize              bytes of `messages` before compression, lengths included
 *   flags bit 0          `messages` is one LZ4 block
 *   flags bit 1          producerId and producerSequence are there; without it `messages` begins at 20
 *   producerId           u64 from 1, below 2^53: who sends; a producer chooses its own at random
 *   producerSequence     u64, below 2^53: which of its batches for this stream; the first is 0, then one more each
 *
 * Other flag bits and the two bytes at 2 are 0: a later version may use them, and an older server must then refuse.
 */
export const APPEND_BATCH_FLAGS_AT = 1;
export const APPEND_BATCH_HANDLE_AT = 4;
export const APPEND_BATCH_REQUEST_ID_AT = 8;
export const APPEND_BATCH_RAW_SIZE_AT = 12;
export const APPEND_BATCH_MESSAGE_COUNT_AT = 16;
export const APPEND_BATCH_PRODUCER_ID_AT = 20;
export const APPEND_BATCH_PRODUCER_SEQUENCE_AT = 28;
/** Bytes before the messages, without and with the producer's fields. */
export const APPEND_BATCH_HEADER_BYTES = 20;
export const APPEND_BATCH_PRODUCER_HEADER_BYTES = 36;
export const AppendBatchFlag = { Lz4: 1, Producer: 2 } as const;
const FLAGS_MASK = AppendBatchFlag.Lz4 | AppendBatchFlag.Producer;

/** One reusable object per connection or worker: filled anew for each frame. */
export interface AppendBatchHeader {
  isLz4: boolean;
  hasProducer: boolean;
  handle: number;
  requestId: number;
  rawSizeBytes: number;
  messageCount: number;
  /** 0 without the producer's fields. */
  producerId: number;
  producerSequence: number;
  /** Where the messages begin in the frame; they end with it. */
  messagesAt: number;
}

export function createAppendBatchHeader(): AppendBatchHeader {
  return {
    isLz4: false,
    hasProducer: false,
    handle: 0,
    requestId: 0,
    rawSizeBytes: 0,
    messageCount: 0,
    producerId: 0,
    producerSequence: 0,
    messagesAt: 0,
  };
}

/**
 * Reads and checks the header of one frame without allocating. The messages are not walked: see `checkFraming`. When it
 * throws, `into.requestId` holds the id if the frame was long enough for one, else 0.
 * @throws {MillraceError} MALFORMED_FRAME, INVALID_REQUEST, FRAME_TOO_LARGE
 */
export function readAppendBatchHeader(frame: Uint8Array, into: AppendBatchHeader): void {
  into.requestId = frame.length >= APPEND_BATCH_RAW_SIZE_AT ? readU32(frame, APPEND_BATCH_REQUEST_ID_AT) : 0;
  const flags = frame.length > APPEND_BATCH_FLAGS_AT ? frame[APPEND_BATCH_FLAGS_AT]! : 0;
  const hasProducer = (flags & AppendBatchFlag.Producer) !== 0;
  const messagesAt = hasProducer ? APPEND_BATCH_PRODUCER_HEADER_BYTES : APPEND_BATCH_HEADER_BYTES;
  if (frame.length <= messagesAt || (flags & ~FLAGS_MASK) !== 0 || (frame[2]! | frame[3]!) !== 0) {
    throw new MillraceError(
      "MALFORMED_FRAME",
      `Cannot decode AppendBatch: ${frame.length} bytes with flags ${flags}`,
    );
  }
  into.isLz4 = (flags & AppendBatchFlag.Lz4) !== 0;
  into.hasProducer = hasProducer;
  into.messagesAt = messagesAt;
  into.handle = readU32(frame, APPEND_BATCH_HANDLE_AT);
  into.rawSizeBytes = readU32(frame, APPEND_BATCH_RAW_SIZE_AT);
  into.messageCount = readU32(frame, APPEND_BATCH_MESSAGE_COUNT_AT);
  into.producerId = hasProducer ? readU64(frame, APPEND_BATCH_PRODUCER_ID_AT) : 0;
  into.producerSequence = hasProducer ? readU64(frame, APPEND_BATCH_PRODUCER_SEQUENCE_AT) : 0;
  if (hasProducer && into.producerId === 0) {
    throw new MillraceError("INVALID_REQUEST", "Cannot append batch: producer id 0, the least is 1");
  }
  checkSizes(into, frame.length - messagesAt);
}

function checkSizes(header: AppendBatchHeader, bodyBytes: number): void {
  const { messageCount, rawSizeBytes } = header;
  if (messageCount < 1 || messageCount > APPEND_BATCH_MESSAGES_MAX) {
    throw new MillraceError(
      "INVALID_REQUEST",
      `Cannot append batch: ${messageCount} messages, must be 1 to ${APPEND_BATCH_MESSAGES_MAX}`,
    );
  }
  // A batch of one may be as large as a message may be; it travels alone because it does not fit with others.
  const rawSizeMax = messageCount === 1 ? rawSizeMaxOfOne(header) : APPEND_BATCH_BYTES_MAX;
  if (rawSizeBytes > rawSizeMax) {
    throw new MillraceError(
      "FRAME_TOO_LARGE",
      `Cannot append batch: ${rawSizeBytes} bytes in ${messageCount} messages, the maximum is ${rawSizeMax}`,
    );
  }
  // RELIABILITY 4 row 28: what LZ4 claims to unpack to is compared with what it can, before anything is allocated.
  const isPossible = header.isLz4 ? rawSizeBytes <= bodyBytes * LZ4_RATIO_MAX : rawSizeBytes === bodyBytes;
  if (!isPossible || rawSizeBytes < messageCount * (MESSAGE_LENGTH_BYTES + 1)) {
    throw new MillraceError(
      "MALFORMED_FRAME",
      `Cannot append batch: raw size ${rawSizeBytes} does not fit ${messageCount} messages in ${bodyBytes} bytes`,
    );
  }
}

/** A block of the store has no larger LZ4 block than that, so a larger message is not to be sent as one. */
function rawSizeMaxOfOne({ isLz4 }: AppendBatchHeader): number {
  return isLz4 ? LZ4_BLOCK_RAW_BYTES_MAX : MESSAGE_BYTES_MAX_DEFAULT + MESSAGE_LENGTH_BYTES;
}

export interface AppendBatch {
  readonly handle: number;
  readonly requestId: number;
  readonly messages: readonly Uint8Array[];
  readonly producer?: { readonly id: number; readonly sequence: number };
}

/** One frame from messages in hand. Producers that append one by one build theirs in place. */
export function encodeAppendBatch(batch: AppendBatch): Uint8Array {
  const { messages, producer } = batch;
  let rawSizeBytes = 0;
  for (const message of messages) rawSizeBytes += MESSAGE_LENGTH_BYTES + message.length;
  const messagesAt = producer ? APPEND_BATCH_PRODUCER_HEADER_BYTES : APPEND_BATCH_HEADER_BYTES;
  const frame = new Uint8Array(messagesAt + rawSizeBytes);
  writeAppendBatchHeader(frame, {
    handle: batch.handle,
    requestId: batch.requestId,
    rawSizeBytes,
    messageCount: messages.length,
    ...(producer && { producer }),
  });
  let at = messagesAt;
  for (const message of messages) {
    writeU32(frame, at, message.length);
    frame.set(message, at + MESSAGE_LENGTH_BYTES);
    at += MESSAGE_LENGTH_BYTES + message.length;
  }
  return frame;
}

/** Fills the header of a frame whose messages stand already behind it. */
export function writeAppendBatchHeader(
  frame: Uint8Array,
  header: {
    readonly handle: number;
    readonly requestId: number;
    readonly rawSizeBytes: number;
    readonly messageCount: number;
    readonly isLz4?: boolean;
    readonly producer?: { readonly id: number; readonly sequence: number };
  },
): void {
  frame[0] = Operation.AppendBatch;
  frame[APPEND_BATCH_FLAGS_AT] =
    (header.isLz4 === true ? AppendBatchFlag.Lz4 : 0) | (header.producer ? AppendBatchFlag.Producer : 0);
  frame[2] = 0;
  frame[3] = 0;
  writeU32(frame, APPEND_BATCH_HANDLE_AT, header.handle);
  writeU32(frame, APPEND_BATCH_REQUEST_ID_AT, header.requestId);
  writeU32(frame, APPEND_BATCH_RAW_SIZE_AT, header.rawSizeBytes);
  writeU32(frame, APPEND_BATCH_MESSAGE_COUNT_AT, header.messageCount);
  if (!header.producer) return;
  writeU64(frame, APPEND_BATCH_PRODUCER_ID_AT, header.producer.id);
  writeU64(frame, APPEND_BATCH_PRODUCER_SEQUENCE_AT, header.producer.sequence);
}
