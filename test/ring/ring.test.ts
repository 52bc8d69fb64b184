import assert from "node:assert/strict";
import test from "node:test";
import { Doorbell } from "../../src/ring/doorbell.ts";
import { RingCounter, allocateRing } from "../../src/ring/ring-layout.ts";
import { RingReader } from "../../src/ring/ring-reader.ts";
import { RingSender } from "../../src/ring/ring-sender.ts";
import { RingWriter } from "../../src/ring/ring-writer.ts";
import { seededRandom, testSeed } from "../support/seeded-random.ts";

function openRing(capacityBytes: number): {
  writer: RingWriter;
  reader: RingReader;
  writerDoorbell: Doorbell;
} {
  const memory = allocateRing(capacityBytes);
  const writerDoorbell = new Doorbell();
  return {
    writer: new RingWriter(memory, new Doorbell()),
    reader: new RingReader(memory, writerDoorbell),
    writerDoorbell,
  };
}

function put(writer: RingWriter, type: number, body: Uint8Array): boolean {
  const at = writer.claim(type, body.length);
  if (at < 0) return false;
  writer.bytes.set(body, at);
  writer.commit();
  return true;
}

function take(reader: RingReader, bytesMax = Infinity): { type: number; body: string }[] {
  const records: { type: number; body: string }[] = [];
  reader.read(
    (type, bytes, start, end) => records.push({ type, body: bytes.toString("latin1", start, end) }),
    bytesMax,
  );
  return records;
}

test("a record is read as it was written", () => {
  const { writer, reader } = openRing(4096);
  assert.ok(put(writer, 7, Buffer.from("hello")));
  assert.deepEqual(take(reader), [{ type: 7, body: "hello" }]);
  assert.ok(reader.isEmpty);
});

test("a claimed record is invisible until it is committed", () => {
  const { writer, reader } = openRing(4096);
  writer.claim(1, 16);
  assert.ok(reader.isEmpty);
  assert.deepEqual(take(reader), []);
  writer.commit();
  assert.equal(take(reader).length, 1);
});

test("claim answers -1 on a full ring, and the reader that makes room tells the writer", () => {
  const { writer, reader, writerDoorbell } = openRing(4096);
  let written = 0;
  while (put(writer, 1, Buffer.alloc(100, written))) written += 1;
  assert.equal(written, Math.floor(4096 / 112));
  assert.equal(writer.counter(RingCounter.Stalls), 1);
  const rungBefore = writerDoorbell.wakeUpCount;
  assert.equal(take(reader, 112).length, 1);
  assert.equal(writerDoorbell.wakeUpCount, rungBefore + 1);
  assert.equal(take(reader).length, written - 1);
  assert.ok(put(writer, 1, Buffer.alloc(100)));
});

test("read stops at its byte limit and keeps the order over many wraps", () => {
  const { writer, reader } = openRing(4096);
  const random = seededRandom(testSeed);
  const sent: string[] = [];
  const received: string[] = [];
  for (let round = 0; round < 5000; round++) {
    const body = `${round}:`.padEnd(1 + Math.floor(random.fraction() * 1000), "x");
    while (!put(writer, 3, Buffer.from(body)))
      for (const record of take(reader, 500)) received.push(record.body);
    sent.push(body);
  }
  for (const record of take(reader)) received.push(record.body);
  assert.deepEqual(received, sent, `SEED=${testSeed}`);
});

for (const start of [2 ** 31 - 1024, -1024]) {
  test(`positions survive passing ${start < 0 ? "2^32" : "2^31"}`, () => {
    const memory = allocateRing(4096);
    const words = new Int32Array(memory);
    words[0] = words[32] = start;
    const writer = new RingWriter(memory, new Doorbell());
    const reader = new RingReader(memory, new Doorbell());
    for (let round = 0; round < 100; round++) {
      const body = `round ${round}`.padEnd(200);
      assert.ok(put(writer, 1, Buffer.from(body)));
      assert.deepEqual(take(reader), [{ type: 1, body }]);
    }
  });
}

test("a sender splits a record larger than a fragment and the reader joins it", () => {
  const { writer, reader } = openRing(4096);
  const sender = new RingSender(writer);
  const body = Buffer.from(Array.from({ length: 10_000 }, (_, index) => index & 255));
  assert.equal(sender.send(9, Buffer.from("head"), body), false);
  assert.equal(sender.send(2, Buffer.from("after")), false, "order is kept behind a waiting record");
  const records: { type: number; body: Buffer }[] = [];
  for (let turn = 0; turn < 20; turn++) {
    reader.read(
      (type, bytes, from, to) => records.push({ type, body: Buffer.from(bytes.subarray(from, to)) }),
      1e9,
    );
    sender.flush();
  }
  assert.deepEqual(
    records.map((record) => record.type),
    [9, 2],
  );
  assert.deepEqual(records[0]?.body, Buffer.concat([Buffer.from("head"), body]));
  assert.equal(records[1]?.body.toString(), "after");
  assert.equal(sender.queuedBytes, 0);
});

test("a handler that throws does not meet the same record again", () => {
  const { writer, reader } = openRing(4096);
  put(writer, 1, Buffer.from("bad"));
  put(writer, 1, Buffer.from("good"));
  assert.throws(() =>
    reader.read(() => {
      throw new Error("boom");
    }, 1e9),
  );
  assert.deepEqual(take(reader), [{ type: 1, body: "good" }]);
});

test("a doorbell rung between arm and wait keeps the sleeper awake", () => {
  const doorbell = new Doorbell();
  const ticket = doorbell.arm();
  doorbell.ring();
  assert.equal(doorbell.waitAsync(ticket, 10_000), undefined);
});

test("a doorbell nobody armed is not counted as a wake-up", () => {
  const doorbell = new Doorbell();
  doorbell.ring();
  assert.equal(doorbell.wakeUpCount, 0);
});

test("Doorbell.ring wakes one sleep once, however often it is called", async () => {
  const doorbell = new Doorbell();
  doorbell.ring();
  assert.equal(doorbell.wakeUpCount, 0, "nobody sleeps");
  const rung = doorbell.waitAsync(doorbell.arm(), Infinity);
  doorbell.ring();
  doorbell.ring();
  assert.equal(doorbell.wakeUpCount, 1);
  assert.equal(await rung, "ok");
  doorbell.arm();
  doorbell.ring();
  assert.equal(doorbell.wakeUpCount, 2, "the next sleep is woken again");
});

test("Doorbell.waitAsync does not sleep when rung between arm and wait", () => {
  const doorbell = new Doorbell();
  const ticket = doorbell.arm();
  doorbell.ring();
  assert.equal(doorbell.waitAsync(ticket, Infinity), undefined);
});
