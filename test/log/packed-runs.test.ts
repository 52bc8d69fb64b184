import assert from "node:assert/strict";
import { describe, it } from "node:test";

import type { BatchRun } from "../../src/log/block-builder.ts";
import {
  INGEST_SPAN_MS_MAX,
  PACKED_RUN_BYTES_MAX,
  packedRunsBytes,
  readPackedRuns,
  writePackedRuns,
} from "../../src/log/packed-runs.ts";
import { SeededRandom } from "../support/deterministic.ts";

const firstIngestMs = 1_700_000_000_000;

function pack(runs: readonly BatchRun[]): Buffer {
  const target = Buffer.alloc(packedRunsBytes(runs, firstIngestMs));
  assert.equal(writePackedRuns(target, 0, runs, firstIngestMs), target.length);
  return target;
}

function unpack(bytes: Buffer, runCount: number): BatchRun[] | undefined {
  return readPackedRuns(bytes, 0, { runCount, firstIngestMs });
}

const mixed: readonly BatchRun[] = [
  { messageCount: 1, ingestMs: firstIngestMs },
  { messageCount: 200, ingestMs: firstIngestMs + 1 },
  { messageCount: 3, ingestMs: firstIngestMs + 301, producer: { id: 2 ** 50, sequence: 12 } },
  { messageCount: 1, ingestMs: firstIngestMs + 301 },
  { messageCount: 1, ingestMs: firstIngestMs + 301, producer: { id: 2 ** 50, sequence: 13 } },
  { messageCount: 1, ingestMs: firstIngestMs + 301, producer: { id: 2 ** 50, sequence: 15 } },
  { messageCount: 1, ingestMs: firstIngestMs + 302, producer: { id: 3, sequence: 16 } },
];

describe("packed runs", () => {
  it("have this form", () => {
    assert.equal(
      pack(mixed).toString("hex"),
      "0400" +
        "a00601" +
        "0dac02" +
        "80808080808080020c" +
        "0400" +
        "0600" +
        "0500" +
        "80808080808080020f" +
        "0501" +
        "0310",
    );
  });

  it("cost two bytes for a message of its own time, with or without a producer that goes on", () => {
    const plain = Array.from({ length: 100 }, (_, at) => ({ messageCount: 1, ingestMs: firstIngestMs + at }));
    assert.equal(pack(plain).length, 200);
    const named = plain.map((run, at) => ({ ...run, producer: { id: 2 ** 50, sequence: 500 + at } }));
    assert.equal(pack(named).length, 200 + 8 + 2);
  });

  it("round-trip whatever a block may hold", () => {
    const random = new SeededRandom(11);
    for (let round = 0; round < 500; round++) {
      let ingestMs = firstIngestMs;
      let sequence = 0;
      const runs = Array.from({ length: random.between(1, 40) }, (): BatchRun => {
        ingestMs += random.fraction() < 0.5 ? random.between(0, 2) : random.between(0, 2 ** 31 - 1);
        const messageCount = random.fraction() < 0.8 ? random.between(1, 5) : 2 ** 32 - 1;
        if (random.fraction() < 0.5) return { messageCount, ingestMs };
        sequence = random.fraction() < 0.7 ? sequence + 1 : random.between(1, 2 ** 31 - 1) * 2 ** 21;
        return { messageCount, ingestMs, producer: { id: random.between(1, 3) * 2 ** 50, sequence } };
      });
      const bytes = pack(runs);
      assert.ok(bytes.length <= runs.length * PACKED_RUN_BYTES_MAX);
      assert.deepEqual(unpack(bytes, runs.length), runs);
    }
  });

  it("are refused as any prefix, with anything behind, and with another count", () => {
    const bytes = pack(mixed);
    for (let size = 0; size < bytes.length; size++) {
      assert.equal(unpack(bytes.subarray(0, size), mixed.length), undefined, `${size} bytes`);
    }
    assert.equal(unpack(Buffer.concat([bytes, Buffer.alloc(1)]), mixed.length), undefined);
    assert.equal(unpack(bytes, mixed.length - 1), undefined);
    assert.equal(unpack(bytes, mixed.length + 1), undefined);
  });

  it("are refused when they say what no writer writes", () => {
    const wrong = {
      "kind 3": "0700",
      "the next of no producer": "0600",
      "a number above 2^53": "04ffffffffffffff7f",
      "a number that does not end": "04ffffffffffffffffff",
      "a delay above the span": "048080808010",
    };
    for (const [name, hex] of Object.entries(wrong)) {
      assert.equal(unpack(Buffer.from(hex, "hex"), 1), undefined, name);
    }
    assert.ok(
      unpack(Buffer.from("04ffffffff0f", "hex"), 1)?.[0]?.ingestMs === firstIngestMs + INGEST_SPAN_MS_MAX,
    );
  });
});
