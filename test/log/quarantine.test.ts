import assert from "node:assert/strict";
import path from "node:path";
import { describe, it } from "node:test";

import { QUARANTINE_STREAM_BYTES_MAX, REWRITE_FREE_BYTES_MIN } from "../../src/core/limits.ts";
import { Quarantine } from "../../src/log/quarantine.ts";
import { SEGMENT_HEADER_BYTES } from "../../src/log/segment-layout.ts";
import { StreamLog } from "../../src/log/stream-log.ts";
import type { StreamLogOptions } from "../../src/log/stream-log-options.ts";
import { SeededRandom } from "../support/deterministic.ts";
import { dataBlocks, segmentPaths } from "../support/log-blocks.ts";
import {
  blockOf,
  logOptions,
  readAll,
  smallPolicy,
  STREAM_DIRECTORY,
  STREAM_ID,
} from "../support/log-fixture.ts";
import { SimStorage } from "../support/sim-storage.ts";

const DIRECTORY = `/store/quarantine/${STREAM_ID}`;
const policy = { ...smallPolicy, commitAlignBytes: 0 };

function open(
  storage: SimStorage,
  overrides: Partial<StreamLogOptions> = {},
): ReturnType<typeof StreamLog.open> {
  return StreamLog.open(
    logOptions(storage, { epoch: 7, policy, quarantineDirectory: DIRECTORY, ...overrides }),
  );
}

/** A segment with blocks that nothing but the first ones proves to be durable. */
function makeStore(): SimStorage {
  const storage = new SimStorage();
  storage.makeDirectory("/store");
  const log = StreamLog.create(logOptions(storage, { policy }));
  for (let block = 0; block < 4; block++) log.append(blockOf([`message ${block}`]));
  log.sync(() => undefined);
  storage.completeSyncs();
  return storage;
}

function pieces(storage: SimStorage): string[] {
  if (!storage.list("/store").some(({ name }) => name === "quarantine")) return [];
  return storage
    .list(DIRECTORY)
    .map(({ name }) => name)
    .sort();
}

describe("the quarantine of a stream", () => {
  it("has what a start cuts off, byte by byte, and the start says so", () => {
    const storage = makeStore();
    const segment = segmentPaths(storage)[0]!;
    const third = dataBlocks(storage, segment)[2]!;
    storage.flip(segment, third.position + third.headerBytes + 9);
    const torn = storage.read(segment).subarray(third.position);
    const { log, recovery } = open(storage);
    assert.equal(recovery.tornTailBytes, torn.length);
    const name = `0000000007-${path.basename(segment, ".lz4")}-${String(third.position).padStart(12, "0")}.bytes`;
    assert.deepEqual(pieces(storage), [name]);
    assert.deepEqual(recovery.quarantined, [`quarantine/${STREAM_ID}/${name}`]);
    assert.deepEqual(storage.read(path.join(DIRECTORY, name)), torn);
    assert.equal(log.nextSequence, 2);
    log.close();
    // Once.
    assert.deepEqual(open(storage, { epoch: 8 }).recovery.quarantined, []);
  });

  it("has nothing of what a crash leaves of an append: zeros, or the beginning of a block", () => {
    const whole = makeStore();
    const segment = segmentPaths(whole)[0]!;
    const third = dataBlocks(whole, segment)[2]!;
    const bytes = whole.read(segment);
    for (let end = third.position + 1; end < dataBlocks(whole, segment)[3]!.position; end += 7) {
      const storage = whole.copy();
      storage.put(segment, bytes.subarray(0, end));
      assert.ok(open(storage).recovery.tornTailBytes > 0);
      assert.deepEqual(pieces(storage), [], `cut at ${end}`);
    }
    const storage = whole.copy();
    storage.put(segment, Buffer.from(bytes).fill(0, third.position));
    assert.ok(open(storage).recovery.tornTailBytes > 0);
    assert.deepEqual(pieces(storage), []);
  });

  it("has the damaged header that is made anew", () => {
    const storage = makeStore();
    const segment = segmentPaths(storage)[0]!;
    const bytes = Buffer.from(storage.read(segment));
    bytes.fill(0x5a, 0, SEGMENT_HEADER_BYTES);
    storage.put(segment, bytes);
    const { log, recovery } = open(storage);
    assert.equal(recovery.restored.length, 1);
    const [name] = pieces(storage);
    assert.deepEqual(storage.read(path.join(DIRECTORY, name!)), bytes.subarray(0, SEGMENT_HEADER_BYTES));
    assert.equal(readAll(log, 0, 4).messages.size, 4);
  });

  it("never keeps more than its cap: the oldest go, and files of others stay", () => {
    const storage = new SimStorage();
    storage.makeDirectory("/store");
    const random = new SeededRandom(3);
    for (let epoch = 1; epoch <= 9; epoch++) {
      const quarantine = new Quarantine({ storage, directory: DIRECTORY, epoch, freeBytesMin: 0 });
      const filePath = `${STREAM_DIRECTORY}/00000000000000000000-0000.lz4`;
      quarantine.keep({ filePath, position: 4096, bytes: Buffer.from(random.bytes(300_000)) });
      if (epoch === 1) storage.put(`${DIRECTORY}/notes.txt`, Buffer.from("mine"));
    }
    const kept = pieces(storage);
    assert.deepEqual(
      kept.map((name) => name.slice(0, 10)),
      ["0000000007", "0000000008", "0000000009", "notes.txt"],
    );
    const large = new Quarantine({ storage, directory: DIRECTORY, epoch: 10, freeBytesMin: 0 });
    const filePath = `${STREAM_DIRECTORY}/00000000000000000000-0000.lz4`;
    large.keep({ filePath, position: 4096, bytes: Buffer.alloc(3 * QUARANTINE_STREAM_BYTES_MAX, 1) });
    assert.equal(pieces(storage).length, 2);
    const [largest] = pieces(storage);
    assert.equal(storage.read(path.join(DIRECTORY, largest!)).length, QUARANTINE_STREAM_BYTES_MAX);
  });

  it("takes no room that is short, and stops no start whatever call fails", () => {
    const damaged = makeStore();
    const segment = segmentPaths(damaged)[0]!;
    const third = dataBlocks(damaged, segment)[2]!;
    damaged.flip(segment, third.position + third.headerBytes + 9);
    const short = damaged.copy();
    short.freeBytesLeft = REWRITE_FREE_BYTES_MIN;
    assert.equal(open(short).log.nextSequence, 2);
    assert.deepEqual(pieces(short), []);
    const calls = open(damaged.copy()).recovery.quarantined.length;
    assert.equal(calls, 1);
    let struck = 0;
    for (const kind of ["mkdir", "open", "write", "sync", "syncDirectory", "list", "unlink"] as const) {
      for (let at = 1; at <= 6; at++) {
        const storage = damaged.copy();
        const quarantine = new Quarantine({ storage, directory: DIRECTORY, epoch: 7, freeBytesMin: 0 });
        storage.plant([[`${kind}@+${at}`, { code: "EIO" }]]);
        const bytes = storage.read(segment).subarray(third.position);
        quarantine.keep({ filePath: segment, position: third.position, bytes });
        struck += storage.faultCount;
        assert.equal(open(storage).log.nextSequence, 2);
      }
    }
    assert.ok(struck > 3, `${struck} faults struck`);
  });

  it("goes with its stream", () => {
    const storage = makeStore();
    const segment = segmentPaths(storage)[0]!;
    const third = dataBlocks(storage, segment)[2]!;
    storage.flip(segment, third.position + third.headerBytes + 9);
    const { log } = open(storage);
    assert.equal(pieces(storage).length, 1);
    log.destroy();
    assert.deepEqual(storage.list("/store/quarantine"), []);
  });
});
