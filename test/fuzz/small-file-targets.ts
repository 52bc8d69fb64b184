import assert from "node:assert/strict";
import { crc32 } from "node:zlib";
import { MillraceError } from "../../src/core/errors.ts";
import { LossReason } from "../../src/core/stream-ledger.ts";
import { streamOptionsDefault } from "../../src/core/stream-options.ts";
import { decodeCursor, encodeCursor, newCursor } from "../../src/export/cursor-layout.ts";
import { readDurableFile, writeDurableFile } from "../../src/log/durable-file.ts";
import { decodeLedger, encodeLedger } from "../../src/log/ledger-layout.ts";
import { decodeProducers, encodeProducers } from "../../src/log/producers-layout.ts";
import { inspectSlots, SlotFile } from "../../src/log/slot-file.ts";
import { decodeDefinition, encodeDefinition } from "../../src/stream/definition-file.ts";
import { SimStorage } from "../support/sim-storage.ts";
import { definitionWith } from "../support/stream-fixture.ts";
import { type FuzzTarget, plainAllocation } from "./fuzz-target.ts";

/** What stands behind the checksum of a file: an input is one byte for the kind, and the content. */
interface ContentKind {
  readonly seeds: () => readonly Uint8Array[];
  /** Reads it; what is taken says the same when it is written and read again. */
  readonly check: (content: Buffer) => void;
}

const range = {
  fromSequence: 0,
  toSequence: 4,
  fromPayloadOffset: 0,
  toPayloadOffset: 90,
  timeMs: 1_700_000_000_000,
  reason: LossReason.Overwritten,
};
const streamId = Buffer.alloc(16, 0x5e);

const DIRECTORY = `/streams/${streamId.toString("hex")}`;

function definitionContent(): Uint8Array {
  return encodeDefinition({ definition: definitionWith([]), options: streamOptionsDefault }, DIRECTORY);
}

function cursorContent(): Buffer {
  const cursor = newCursor(0);
  const exported = { messages: 3, payloadBytes: 30 };
  return encodeCursor({
    ...cursor,
    position: 3,
    startSequence: 0,
    payloadOffset: 30,
    accounts: { ...cursor.accounts, exported },
    ranges: [range],
  });
}

function ledgerContent(): Buffer {
  const none = { messages: 0, payloadBytes: 0 };
  const overwritten = { messages: 4, payloadBytes: 90 };
  return encodeLedger({
    streamId,
    snapshot: {
      accounts: { overwritten, expired: none, deleted: none, damaged: none },
      drops: [range],
      damage: [{ ...range, fromSequence: 9, toSequence: 11, reason: LossReason.Corrupt }],
    },
    knownEnd: { sequence: 20, payloadOffset: 400 },
    lastUncleanEnd: { sequence: 18, epoch: 3, timeMs: 5 },
  });
}

function producersContent(): Buffer {
  const batches = [
    { firstSequence: 0, messageCount: 3 },
    { firstSequence: 3, messageCount: 2 },
  ];
  return encodeProducers({ endSequence: 30, states: [{ id: 5, lastSequence: 1, batches }] });
}

const kinds: readonly ContentKind[] = [
  {
    seeds: () => [cursorContent(), encodeCursor(newCursor(0))],
    check(content) {
      const cursor = decodeCursor(content);
      if (cursor !== undefined) assert.deepEqual(decodeCursor(encodeCursor(cursor)), cursor);
    },
  },
  {
    seeds: () => [ledgerContent()],
    check(content) {
      const ledger = decodeLedger(content);
      if (ledger !== undefined) assert.deepEqual(decodeLedger(encodeLedger(ledger)), ledger);
    },
  },
  {
    seeds: () => [producersContent()],
    check(content) {
      const producers = decodeProducers(content);
      if (producers !== undefined) assert.deepEqual(decodeProducers(encodeProducers(producers)), producers);
    },
  },
  {
    seeds: () => [definitionContent(), Buffer.from(JSON.stringify(definitionWith([])))],
    check(content) {
      try {
        const stored = decodeDefinition(content, DIRECTORY);
        assert.equal(typeof stored.definition.name, "string");
        assert.ok(stored.definition.maxSize > 0 && stored.definition.streamSegmentSize > 0);
        assert.ok(Array.isArray(stored.definition.exportDefinition.kinesis));
      } catch (thrown) {
        if (!(thrown instanceof MillraceError) || thrown.code !== "STORE_READ_ERROR") throw thrown;
      }
    },
  },
];

/** Content that has a right checksum and may be anything. */
const contentTarget: FuzzTarget = {
  name: "small-files",
  sources: [
    "src/export/cursor-layout.js",
    "src/log/ledger-layout.js",
    "src/log/producers-layout.js",
    "src/stream/definition-file.js",
    "src/core/stream-options.js",
  ],
  inputBytesMax: 1200,
  inputsPerCount: 32,
  allocatedBytesMax: plainAllocation,
  seeds: () =>
    kinds.flatMap((kind, index) => kind.seeds().map((seed) => Buffer.concat([Buffer.of(index), seed]))),
  run(input) {
    const kind = kinds[(input[0] ?? 0) % kinds.length]!;
    // A buffer of its own: what is left over of another file must not be read.
    kind.check(Buffer.from(input.subarray(1)));
  },
};

const slotOptions = { path: "/file", contentBytesMax: 64 };
const SLOT_BYTES = 4096;
const SLOT_HEADER_BYTES = 16;
const NEW_CONTENT = Buffer.from("written anew");

function storageWith(bytes: Buffer): SimStorage {
  const storage = new SimStorage();
  storage.put(slotOptions.path, bytes);
  return storage;
}

/** The bytes of a slot file of which each slot begins with a half of `input`; `isForged`: with checksums that fit. */
function slotBytes(input: Buffer, isForged: boolean): Buffer {
  const bytes = Buffer.alloc(2 * SLOT_BYTES);
  const half = Math.ceil(input.length / 2);
  [input.subarray(0, half), input.subarray(half)].forEach((part, slot) => {
    const place = bytes.subarray(slot * SLOT_BYTES, (slot + 1) * SLOT_BYTES);
    part.copy(place);
    const end = SLOT_HEADER_BYTES + place.readUInt32LE(4);
    if (isForged && end <= place.length) place.writeUInt32LE(crc32(place.subarray(4, end)), 0);
  });
  return bytes;
}

function checkSlots(bytes: Buffer): void {
  const storage = storageWith(bytes);
  const slots = inspectSlots(storage, slotOptions);
  const file = new SlotFile(storage, slotOptions);
  const whole = slots.filter(({ content }) => content !== undefined);
  assert.equal(file.content === undefined, whole.length === 0);
  const newest = Math.max(...whole.map(({ counter }) => counter));
  if (file.content !== undefined)
    assert.ok(whole.some(({ content, counter }) => counter === newest && file.content!.equals(content!)));
  file.write(NEW_CONTENT);
  file.syncNow();
  file.close();
  assert.deepEqual(new SlotFile(storage, slotOptions).content, NEW_CONTENT, "a new content always counts");
}

function checkDurableFile(bytes: Buffer): void {
  const storage = storageWith(bytes);
  const content = readDurableFile(storage, slotOptions.path);
  if (typeof content === "string") return;
  const again = new SimStorage();
  again.makeDirectory("/store");
  writeDurableFile(again, "/store/file", content);
  assert.deepEqual(again.read("/store/file"), bytes, "the one form that a content has");
}

function durableSeed(): Buffer {
  const storage = new SimStorage();
  storage.makeDirectory("/store");
  writeDurableFile(storage, "/store/file", Buffer.from("content"));
  return storage.read("/store/file");
}

function slotSeed(): Buffer {
  const storage = new SimStorage();
  const file = new SlotFile(storage, slotOptions);
  file.write(Buffer.from("one"));
  file.syncNow();
  file.write(Buffer.from("another"));
  file.close();
  const bytes = storage.read(slotOptions.path);
  return Buffer.concat([bytes.subarray(0, 32), bytes.subarray(SLOT_BYTES, SLOT_BYTES + 32)]);
}

/** Whole files, as they come from a disk. */
const fileTarget: FuzzTarget = {
  name: "checked-files",
  sources: ["src/log/durable-file.js", "src/log/slot-file.js"],
  inputBytesMax: 200,
  inputsPerCount: 32,
  allocatedBytesMax: plainAllocation,
  seeds: () => [
    Buffer.concat([Buffer.of(0), durableSeed()]),
    Buffer.concat([Buffer.of(1), slotSeed()]),
    Buffer.concat([Buffer.of(2), slotSeed()]),
  ],
  run(input) {
    const rest = Buffer.from(input.subarray(1));
    const kind = (input[0] ?? 0) % 3;
    if (kind === 0) checkDurableFile(rest);
    else checkSlots(slotBytes(rest, kind === 2));
  },
};

export const smallFileTargets: readonly FuzzTarget[] = [contentTarget, fileTarget];
