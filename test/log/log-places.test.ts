import assert from "node:assert/strict";
import path from "node:path";
import { describe, it } from "node:test";

import type { StreamPlace } from "../../src/core/stream-ledger.ts";
import { LogReader } from "../../src/log/log-reader.ts";
import { parseSegmentName, SEGMENT_HEADER_BYTES } from "../../src/log/segment-layout.ts";
import { StreamLog } from "../../src/log/stream-log.ts";
import { SeededRandom } from "../support/deterministic.ts";
import { blockOf, logOptions, smallPolicy, STREAM_DIRECTORY, unpack } from "../support/log-fixture.ts";
import { testSeed } from "../support/seeded-random.ts";
import { SimStorage } from "../support/sim-storage.ts";

/** A stream of several segments, and the payload offset of every sequence number, the next one included. */
function makeStream(): { storage: SimStorage; offsets: number[]; bases: number[] } {
  const storage = new SimStorage();
  storage.makeDirectory("/store");
  const random = new SeededRandom(testSeed);
  // Nothing is aligned: the next block begins where the last one ends, so that a test finds it.
  const policy = { ...smallPolicy, commitAlignBytes: 0, segmentSize: 3000 };
  const log = StreamLog.create(logOptions(storage, { policy, random }));
  const offsets = [0];
  const bases = new Set<number>();
  for (let block = 0; block < 30; block++) {
    const payloads = Array.from({ length: random.between(1, 5) }, () =>
      Buffer.from(random.bytes(random.between(1, 200))).toString("latin1"),
    );
    log.append(blockOf(payloads));
    log.sync(() => undefined);
    storage.completeSyncs();
    for (const payload of payloads) offsets.push(offsets.at(-1)! + payload.length);
  }
  log.close();
  for (const { name } of storage.list(STREAM_DIRECTORY)) {
    const segment = parseSegmentName(name);
    if (segment !== undefined) bases.add(segment.baseSequence);
  }
  return { storage, offsets, bases: [...bases].sort((one, other) => one - other) };
}

function segmentPath(storage: SimStorage, base: number): string {
  const prefix = String(base).padStart(20, "0");
  const entry = storage.list(STREAM_DIRECTORY).find(({ name }) => name.startsWith(prefix));
  return path.join(STREAM_DIRECTORY, entry!.name);
}

/** Fails unless every place is exact but those in [hiddenFrom, hiddenTo), which tell where it begins and ends. */
function expectPlaces(storage: SimStorage, offsets: readonly number[], hidden: [number, number]): void {
  const reader = new LogReader({ storage, directory: STREAM_DIRECTORY });
  const place = (sequence: number): StreamPlace => ({ sequence, payloadOffset: offsets[sequence]! });
  for (let sequence = 0; sequence < offsets.length; sequence++) {
    const found = reader.placeOf(sequence);
    if (sequence > hidden[0] && sequence < hidden[1]) {
      assert.deepEqual(found, { before: place(hidden[0]), after: place(hidden[1]) }, `place of ${sequence}`);
    } else {
      assert.deepEqual(found, place(sequence), `place of ${sequence}`);
    }
  }
  reader.close();
}

/** The sequence numbers of the second block of a segment, and where its header stands. */
function secondBlock(storage: SimStorage, base: number): { from: number; to: number; position: number } {
  const bytes = storage.read(segmentPath(storage, base));
  const first = SEGMENT_HEADER_BYTES;
  const position = first + bytes.readUInt32LE(first + 4) + 8 + bytes.readUInt32LE(first + 16);
  const from = Number(bytes.readBigUInt64LE(position + 32));
  return { from, to: from + bytes.readUInt32LE(position + 40), position };
}

describe("LogReader.placeOf", () => {
  it("tells the payload offset of every sequence number up to the end", () => {
    const { storage, offsets, bases } = makeStream();
    assert.ok(bases.length > 3, `${bases.length} segments`);
    expectPlaces(storage, offsets, [0, 0]);
  });

  it("gives the edges of a block whose body is damaged, and everything else exactly", () => {
    const { storage, offsets, bases } = makeStream();
    const { from, to, position } = secondBlock(storage, bases[1]!);
    const headerBytes = storage.read(segmentPath(storage, bases[1]!)).readUInt32LE(position + 4) + 8;
    storage.flip(segmentPath(storage, bases[1]!), position + headerBytes + 9);
    expectPlaces(storage, offsets, [from, to]);
  });

  it("gives the places around a block whose header is damaged", () => {
    const { storage, offsets, bases } = makeStream();
    const { from, to, position } = secondBlock(storage, bases[1]!);
    storage.flip(segmentPath(storage, bases[1]!), position + 33);
    expectPlaces(storage, offsets, [from, to]);
  });

  it("gives the beginning of the next segment that can be read where one is missing or damaged at its head", () => {
    for (const damage of ["missing", "headless"] as const) {
      const { storage, offsets, bases } = makeStream();
      const file = segmentPath(storage, bases[1]!);
      if (damage === "missing") storage.unlink(file);
      else for (const position of [20, 20 + SEGMENT_HEADER_BYTES / 2]) storage.flip(file, position);
      expectPlaces(storage, offsets, [bases[1]!, bases[2]!]);
    }
  });

  it("knows nothing before the oldest segment but where it begins", () => {
    const { storage, offsets, bases } = makeStream();
    storage.unlink(segmentPath(storage, 0));
    const reader = new LogReader({ storage, directory: STREAM_DIRECTORY });
    const after = { sequence: bases[1]!, payloadOffset: offsets[bases[1]!]! };
    assert.deepEqual(reader.placeOf(0), { before: undefined, after });
  });
});

describe("LogReader.read", () => {
  it("says the payload offset of each slice, in whatever portions it is read", () => {
    const { storage, offsets } = makeStream();
    const reader = new LogReader({ storage, directory: STREAM_DIRECTORY });
    const endSequence = offsets.length - 1;
    for (const messageCountMax of [1, 2, 3, 1000]) {
      let at = 0;
      while (at < endSequence) {
        for (const slice of reader.read({ fromSequence: at, endSequence, messageCountMax, bytesMax: 700 })) {
          assert.ok(slice.kind === "messages");
          assert.equal(slice.payloadOffset, offsets[slice.firstSequence]);
          const bytes = unpack(slice).reduce((sum, text) => sum + text.length, 0);
          assert.equal(slice.payloadOffset + bytes, offsets[slice.firstSequence + slice.messageCount]);
          at = slice.firstSequence + slice.messageCount;
        }
      }
    }
  });
});
