import { compressSync } from "lz4-napi";
import {
  type AppendBatch,
  createAppendBatchHeader,
  encodeAppendBatch,
  readAppendBatchHeader,
  writeAppendBatchHeader,
} from "../../src/wire/append-batch-layout.ts";

/** As `encodeAppendBatch`, with the messages as one LZ4 block, whether it is smaller or not. */
export function encodePackedBatch(batch: AppendBatch): Uint8Array {
  const plain = encodeAppendBatch(batch);
  const header = createAppendBatchHeader();
  readAppendBatchHeader(plain, header);
  const { messagesAt, handle, requestId, rawSizeBytes, messageCount } = header;
  const block = compressSync(Buffer.from(plain.subarray(messagesAt))).subarray(4);
  const frame = Buffer.concat([plain.subarray(0, messagesAt), block]);
  const { producer } = batch;
  writeAppendBatchHeader(frame, {
    handle,
    requestId,
    rawSizeBytes,
    messageCount,
    isLz4: true,
    ...(producer && { producer }),
  });
  return frame;
}
