import { PRODUCER_BLOCK_BYTES_MAX } from "../core/compression-limits.ts";
import { MillraceError } from "../core/errors.ts";
import { BLOCK_RAW_BYTES_MAX } from "../core/limits.ts";
import { checkFraming, describeFramingFault, FramingFault } from "../core/message-framing.ts";
import { decodeLz4Block, type ProducerBlock } from "../log/lz4-frame.ts";
import { APPEND_FLAG_LZ4, type AppendRecord } from "./stream-channel.ts";

/** The messages of an append, unpacked and found to be whole: `source[start, end)`. */
export interface CheckedBatch {
  readonly source: Uint8Array;
  readonly start: number;
  readonly end: number;
  /** What the producer made of them itself, where that is smaller and may be stored. */
  readonly producerBlock: ProducerBlock | undefined;
}

/** Unpacks what is compressed, and checks the messages. @throws {MillraceError} INVALID_REQUEST */
export function checkBatch(request: AppendRecord): CheckedBatch {
  const { bytes: source, start, end } = request;
  if ((request.flags & APPEND_FLAG_LZ4) === 0) {
    checkMessages(request, source, start, end);
    return { source, start, end, producerBlock: undefined };
  }
  const producerBlock = decodeLz4Block(source.subarray(start, end), request.rawBytes);
  const { raw } = producerBlock;
  checkMessages(request, raw, 0, raw.length);
  const isFit = end - start < raw.length && raw.length <= PRODUCER_BLOCK_BYTES_MAX;
  return { source: raw, start: 0, end: raw.length, producerBlock: isFit ? producerBlock : undefined };
}

function checkMessages(request: AppendRecord, source: Uint8Array, start: number, end: number): void {
  const sizeBytes = end - start;
  if (sizeBytes !== request.rawBytes || sizeBytes > BLOCK_RAW_BYTES_MAX) {
    const expected = `${request.rawBytes} announced, at most ${BLOCK_RAW_BYTES_MAX}`;
    throw new MillraceError("INVALID_REQUEST", `Cannot append a batch of ${sizeBytes} bytes: ${expected}`);
  }
  if (request.messageCount === 0)
    throw new MillraceError("INVALID_REQUEST", "Cannot append a batch without messages");
  const fault = checkFraming(source, start, end, request.messageCount);
  if (fault === FramingFault.None) return;
  const text = `Cannot append a batch of ${request.messageCount} messages: ${describeFramingFault(fault)}`;
  throw new MillraceError("INVALID_REQUEST", text);
}
