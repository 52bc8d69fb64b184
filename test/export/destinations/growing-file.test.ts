import assert from "node:assert/strict";
import { test } from "node:test";
import { batchCrc, startOf } from "../../../src/export/destinations/growing-file.ts";
import { ExportDirectory } from "../../../src/export/destinations/export-directory.ts";
import { type PartState, PartStateFile } from "../../../src/export/destinations/part-state.ts";
import { temporaryDirectory } from "../../support/engine-process.ts";
import { records } from "../../support/file-bench.ts";

const before = { bytes: 100, rawBytes: 100, nextSequence: 4 };
const at = { bytes: 300, rawBytes: 300, nextSequence: 7 };
const last = records(4, 7);
const old: PartState = { partName: "a.raw.part", begunMs: 1, at, before };
const known: PartState = { ...old, lastCrc: batchCrc(last) };

test("startOf has the last batch replaced by its own messages, alone or with those that follow", () => {
  assert.equal(startOf(known, last), before);
  assert.equal(startOf(known, records(4, 12)), before);
});

test("startOf appends what has the numbers of the last batch, but another content or ingest time", () => {
  assert.equal(startOf(known, records(4, 7, "other")), at);
  assert.equal(startOf(known, records(4, 12, "other")), at);
  for (const index of last.keys()) {
    const otherTime = last.map((record, place) =>
      place === index ? { ...record, ingestTimeMs: record.ingestTimeMs + 1 } : record,
    );
    assert.equal(startOf(known, otherTime), at, `another time of message ${index}`);
    const otherData = last.map((record, place) =>
      place === index ? { ...record, data: Buffer.alloc(0) } : record,
    );
    assert.equal(startOf(known, otherData), at, `another content of message ${index}`);
  }
});

test("startOf appends what goes on, and what does not hold all of the last batch", () => {
  for (const batch of [records(7, 9), records(4, 6), records(5, 9), [last[0]!, last[2]!]]) {
    assert.equal(startOf(known, batch), at);
  }
});

test("startOf goes by numbers where the state was written before the checksum was kept", () => {
  assert.equal(startOf(old, records(4, 8)), before);
  assert.equal(startOf(old, records(4, 6)), at);
});

test("batchCrc tells where one message ends and the next begins", () => {
  const batchOf = (...texts: string[]) =>
    texts.map((text, sequence) => ({ sequence, ingestTimeMs: 1, data: Buffer.from(text) }));
  const batches = [
    batchOf("ab", "c"),
    batchOf("a", "bc"),
    batchOf("abc", ""),
    batchOf("", "abc"),
    batchOf("abc"),
  ];
  assert.equal(new Set(batches.map(batchCrc)).size, batches.length);
});

test("PartStateFile reads the checksum of the last batch again, and a state without one", async (t) => {
  const root = temporaryDirectory(t);
  const directory = await ExportDirectory.open(root, [root]);
  t.after(() => directory.close());
  for (const [name, state] of Object.entries({ known, old })) {
    const written = await PartStateFile.open(directory, name);
    await written.write(state);
    await written.close();
    const read = await PartStateFile.open(directory, name);
    t.after(() => read.close());
    assert.deepEqual(read.state, { ...state, counter: 1 });
  }
});
