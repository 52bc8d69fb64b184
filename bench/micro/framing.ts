import { checkFraming, MESSAGE_LENGTH_BYTES } from "../../src/core/message-framing.ts";
import { writeU32 } from "../../src/wire/little-endian.ts";
import { createInferenceDataSet } from "../data-set.ts";
import { microBench } from "./micro-bench.ts";

const OPERATION_COUNT = 100;

export const framingBench = microBench("framing", () =>
  [4, 64, 256].map((kib) => {
    const { bytes, messageCount } = frameMessages(kib * 1024);
    return {
      name: `check ${kib} KiB of framed messages`,
      operationCount: OPERATION_COUNT,
      bytesPerOperation: bytes.length,
      run: () => {
        let sum = messageCount;
        for (let index = 0; index < OPERATION_COUNT; index++) {
          sum += checkFraming(bytes, 0, bytes.length, messageCount);
        }
        return sum;
      },
    };
  }),
);

/** As many messages of the data set as fit, as they lie in a batch. */
export function frameMessages(sizeBytesMax: number): { bytes: Uint8Array; messageCount: number } {
  const { messages } = createInferenceDataSet(Math.ceil(sizeBytesMax / 100));
  const bytes = new Uint8Array(sizeBytesMax);
  let at = 0;
  let messageCount = 0;
  for (const message of messages) {
    if (at + MESSAGE_LENGTH_BYTES + message.length > sizeBytesMax) break;
    writeU32(bytes, at, message.length);
    bytes.set(message, at + MESSAGE_LENGTH_BYTES);
    at += MESSAGE_LENGTH_BYTES + message.length;
    messageCount += 1;
  }
  return { bytes: bytes.slice(0, at), messageCount };
}
