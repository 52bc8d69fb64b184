import { assert } from "../core/assert.ts";
import { MillraceError } from "../core/errors.ts";
import { APPEND_BATCH_BYTES_MAX, APPEND_BATCH_MESSAGES_MAX } from "../core/limits.ts";
import { MESSAGE_LENGTH_BYTES } from "../core/message-framing.ts";
import { APPEND_BATCH_PRODUCER_HEADER_BYTES, writeAppendBatchHeader } from "../wire/append-batch-layout.ts";
import { readU32, writeU32 } from "../wire/little-endian.ts";
import type { BlockCodec } from "./environment.ts";

/** Someone who waits for the sequence number of one message of a batch. */
export interface BatchWaiter {
  readonly index: number;
  resolve(sequence: number): void;
  reject(error: Error): void;
}

/** For a message whose batch another promise tells of. */
export function silentWaiter(index: number): BatchWaiter {
  return { index, resolve: () => undefined, reject: () => undefined };
}

/** Who is told how a batch fared. */
export interface BatchOwner {
  onResult(batch: Batch, status: number, firstSequence: number, errorMessage: string): void;
}

/**
 * One AppendBatch in the making: messages are written behind the place of its header, so that sending copies nothing. It stays
 * until it is answered, since it may have to be sent again.
 */
export class Batch {
  readonly owner: BatchOwner;
  readonly #bytes: Uint8Array;
  /** Of the messages, once they are compressed; 0 before. */
  #packedBytes = 0;
  #codec: BlockCodec | undefined;
  #usedBytes = APPEND_BATCH_PRODUCER_HEADER_BYTES;
  messageCount = 0;
  /** Order of sealing within the producer. */
  serial = 0;
  sentCount = 0;
  /** By which the engine knows it when it is sent again; given when it is sent first. */
  producer: { readonly id: number; readonly sequence: number } | undefined;
  /** Whether a copy was sent of which nobody told whether it was stored. */
  doubt: "none" | "unknown" = "none";
  readonly waiters: BatchWaiter[] = [];

  constructor(owner: BatchOwner, bytes: Uint8Array) {
    this.owner = owner;
    this.#bytes = bytes;
  }

  /** The memory, to be used again once the batch was answered. */
  get buffer(): Uint8Array {
    return this.#bytes;
  }

  get usedBytes(): number {
    return this.#usedBytes;
  }

  /** Of its frame, as it is sent. */
  get frameBytes(): number {
    if (this.#packedBytes === 0) return this.#usedBytes;
    return APPEND_BATCH_PRODUCER_HEADER_BYTES + this.#packedBytes;
  }

  /** The messages with their lengths. A view of the batch, or what its block unpacks to. */
  get rawMessages(): Uint8Array {
    const messages = this.#bytes.subarray(APPEND_BATCH_PRODUCER_HEADER_BYTES, this.#usedBytes);
    return this.#codec?.decompress(messages.subarray(0, this.#packedBytes), messages.length) ?? messages;
  }

  /** Puts an LZ4 block of its messages, which is smaller, in their place; no more are added. `codec` gets them back. */
  packAs(block: Uint8Array, codec: BlockCodec): void {
    assert(this.#packedBytes === 0 && block.length < this.rawMessages.length, "a batch is packed once");
    this.#bytes.set(block, APPEND_BATCH_PRODUCER_HEADER_BYTES);
    this.#packedBytes = block.length;
    this.#codec = codec;
  }

  hasRoom(payloadBytes: number): boolean {
    return this.#usedBytes + MESSAGE_LENGTH_BYTES + payloadBytes <= this.#bytes.length;
  }

  /** Copies a message in; the caller has asked `hasRoom`. */
  add(payload: Uint8Array): void {
    const at = this.#usedBytes;
    writeU32(this.#bytes, at, payload.length);
    this.#bytes.set(payload, at + MESSAGE_LENGTH_BYTES);
    this.#usedBytes = at + MESSAGE_LENGTH_BYTES + payload.length;
    this.messageCount++;
  }

  /** The frame to send now, a view. */
  frame(handle: number, requestId: number): Uint8Array {
    assert(this.producer !== undefined, "a batch is numbered before it is sent");
    const frame = this.#bytes.subarray(0, this.frameBytes);
    writeAppendBatchHeader(frame, {
      handle,
      requestId,
      rawSizeBytes: this.#usedBytes - APPEND_BATCH_PRODUCER_HEADER_BYTES,
      messageCount: this.messageCount,
      isLz4: this.#packedBytes > 0,
      producer: this.producer,
    });
    return frame;
  }

  /** Views of the messages for which nobody waits, in order. */
  unawaitedMessages(): Uint8Array[] {
    const awaited = new Set(this.waiters.map((waiter) => waiter.index));
    const messages: Uint8Array[] = [];
    if (awaited.size === this.messageCount) return messages;
    const raw = this.rawMessages;
    let at = 0;
    for (let index = 0; index < this.messageCount; index++) {
      const length = readU32(raw, at);
      at += MESSAGE_LENGTH_BYTES;
      if (!awaited.has(index)) messages.push(raw.subarray(at, at + length));
      at += length;
    }
    return messages;
  }

  /** A batch of exactly these messages. @throws {MillraceError} INVALID_REQUEST, MESSAGE_TOO_LARGE */
  static of(owner: BatchOwner, payloads: readonly Uint8Array[]): Batch {
    if (payloads.length < 1 || payloads.length > APPEND_BATCH_MESSAGES_MAX) {
      const text = `Cannot send batch: ${payloads.length} messages, must be 1 to ${APPEND_BATCH_MESSAGES_MAX}`;
      throw new MillraceError("INVALID_REQUEST", text);
    }
    const payloadBytes = payloads.reduce((sum, payload) => sum + payload.length, 0);
    const bytes = Batch.bytesFor(payloadBytes, payloads.length);
    const rawSizeBytes = bytes - APPEND_BATCH_PRODUCER_HEADER_BYTES;
    if (payloads.length > 1 && rawSizeBytes > APPEND_BATCH_BYTES_MAX) {
      throw new MillraceError(
        "MESSAGE_TOO_LARGE",
        `Cannot send batch: ${rawSizeBytes} bytes with ${MESSAGE_LENGTH_BYTES} for each message, the maximum is ${APPEND_BATCH_BYTES_MAX}`,
      );
    }
    const batch = new Batch(owner, new Uint8Array(bytes));
    for (const payload of payloads) batch.add(payload);
    return batch;
  }

  /** Room for one batch of `payloadBytes` in `messageCount` messages. */
  static bytesFor(payloadBytes: number, messageCount: number): number {
    return APPEND_BATCH_PRODUCER_HEADER_BYTES + payloadBytes + messageCount * MESSAGE_LENGTH_BYTES;
  }
}
