import { RING_BYTES_DEFAULT } from "../../src/core/limits.ts";
import { Doorbell } from "../../src/ring/doorbell.ts";
import { allocateRing } from "../../src/ring/ring-layout.ts";
import { RingReader } from "../../src/ring/ring-reader.ts";
import { RingWriter } from "../../src/ring/ring-writer.ts";
import { seededRandom } from "../seeded-random.ts";
import { microBench, type MicroCase } from "./micro-bench.ts";

const RECORD_TYPE = 1;
const KIB = 1024;

export const ringBench = microBench("ring", () => [
  ringCase("claim, fill, commit and read 200 B records", { recordBytes: 200, operationCount: 4096 }),
  ringCase("claim, fill, commit and read 64 KiB records", { recordBytes: 64 * KIB, operationCount: 32 }),
]);

/** One thread writes what fits and reads it: what the ring costs without the wake-ups between two threads. */
function ringCase(
  name: string,
  { recordBytes, operationCount }: { recordBytes: number; operationCount: number },
): MicroCase {
  const memory = allocateRing(RING_BYTES_DEFAULT);
  const writer = new RingWriter(memory, new Doorbell());
  const reader = new RingReader(memory, new Doorbell());
  const body = seededRandom(1).bytes(recordBytes);
  let sum = 0;
  const onRecord = (type: number, bytes: Buffer, start: number, end: number): void => {
    sum += type + bytes[start]! + bytes[end - 1]! + (end - start);
  };
  return {
    name,
    operationCount,
    bytesPerOperation: recordBytes,
    run: () => {
      sum = 0;
      for (let count = 0; count < operationCount; count++) {
        let at = writer.claim(RECORD_TYPE, recordBytes);
        if (at < 0) {
          reader.read(onRecord, RING_BYTES_DEFAULT);
          at = writer.claim(RECORD_TYPE, recordBytes);
        }
        if (at < 0) throw new Error("an empty ring has no room");
        writer.bytes.set(body, at);
        writer.commit();
      }
      reader.read(onRecord, RING_BYTES_DEFAULT);
      return sum;
    },
  };
}
