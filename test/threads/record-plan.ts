import { seededRandom } from "../support/seeded-random.ts";

/** What the two ends of a ring agree on: the same seed gives the same records at both. */
export interface PlannedRecord {
  readonly type: number;
  /** Valid until the next record is planned. */
  readonly body: Buffer;
}

const INDEX_BYTES = 8;
const SMALL_BYTES_MAX = 64;
const MEDIUM_BYTES_MAX = 1000;
/** Goes in several fragments over a ring of 16 KiB. */
const LARGE_BYTES_MAX = 20_000;

export function* planRecords({ seed, count }: { seed: number; count: number }): Generator<PlannedRecord> {
  const random = seededRandom(seed);
  const bytes = Buffer.alloc(INDEX_BYTES + LARGE_BYTES_MAX);
  for (let index = 0; index < count; index++) {
    const kind = random.fraction();
    const bodyBytesMax = kind < 0.9 ? SMALL_BYTES_MAX : kind < 0.99 ? MEDIUM_BYTES_MAX : LARGE_BYTES_MAX;
    const body = bytes.subarray(0, INDEX_BYTES + Math.floor(random.fraction() * bodyBytesMax));
    body.fill((index * 31) & 0xff);
    body.writeUInt32LE(index, 0);
    body.writeUInt32LE(~index >>> 0, 4);
    yield { type: 1 + (index % 255), body };
  }
}
