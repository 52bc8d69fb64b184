import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { compressSync } from "lz4-napi";
import { PRODUCER_BLOCK_SHARE_MIN } from "../../src/core/compression-limits.ts";
import { APPEND_BATCH_BYTES_MAX, LZ4_BLOCK_RAW_BYTES_MAX } from "../../src/core/limits.ts";
import { Persistence } from "../../src/core/stream-definition.ts";
import { APPEND_FLAG_LZ4 } from "../../src/stream/stream-channel.ts";
import { seededRandom, testSeed } from "../support/seeded-random.ts";
import { SimStorage } from "../support/sim-storage.ts";
import { sequenceOf } from "../support/strict-lz4.ts";
import { AgentFixture, directoryOf, framed, type UpEvent } from "./agent-fixture.ts";

const BLOCK_BYTES = 16 * 1024;
const LEAST_BYTES = BLOCK_BYTES * PRODUCER_BLOCK_SHARE_MIN;

interface Batch {
  readonly messages: readonly string[];
  readonly block: Buffer;
  readonly rawBytes: number;
}

/** Readings that fill at least so many bytes; no two batches are alike. */
function batchOf(name: string, sizeBytes: number): Batch {
  const messages: string[] = [];
  for (let bytes = 0; bytes < sizeBytes; bytes += 4 + messages.at(-1)!.length)
    messages.push(
      `{"from":"${name}","reading":${messages.length},"value":${(messages.length * 7919) % 997}}`,
    );
  const raw = framed(messages);
  return { messages, rawBytes: raw.length, block: compressSync(raw).subarray(4) };
}

function openFixture(changes: Parameters<AgentFixture["open"]>[1] = {}): AgentFixture {
  const fixture = new AgentFixture({ blockBytes: BLOCK_BYTES });
  assert.equal(fixture.open(0, { maxSize: 2 ** 24, streamSegmentSize: 2 ** 20, ...changes }).kind, "done");
  fixture.work();
  return fixture;
}

type Sent = Parameters<AgentFixture["append"]>[2];

function asLz4({ block, rawBytes, messages }: Batch): Sent {
  return { bytes: block, flags: APPEND_FLAG_LZ4, rawBytes, count: messages.length };
}

function storedMessages(fixture: AgentFixture): string[] {
  const messages: string[] = [];
  for (;;) {
    fixture.read(9999, 0, { from: messages.length, min: 1, max: 50, bytesMax: 8192 });
    const found = fixture.outcomes().flatMap((event) => (event.kind === "records" ? event.payloads : []));
    if (found.length === 0) return messages;
    messages.push(...found);
  }
}

function segmentBytes({ storage }: AgentFixture): Buffer {
  const names = storage.list(directoryOf(0)).filter(({ name }) => name.endsWith(".lz4"));
  return Buffer.concat(
    names.map(({ name }) => {
      const file = storage.open(`${directoryOf(0)}/${name}`, "read");
      const bytes = Buffer.alloc(file.sizeBytes());
      file.read(bytes, 0);
      return bytes;
    }),
  );
}

/** How many of the batches stand in the files as their producer compressed them. */
function asTheyCame(fixture: AgentFixture, batches: readonly Batch[]): boolean[] {
  const bytes = segmentBytes(fixture);
  return batches.map(({ block }) => bytes.includes(block));
}

function firstSequences(events: readonly UpEvent[]): number[] {
  return events.map((event) => {
    assert.ok(event.kind === "appended", JSON.stringify(event));
    return event.firstSequence;
  });
}

describe("a batch that its producer compressed", () => {
  it("is stored as it came where it is large enough to be a block", () => {
    const fixture = openFixture();
    const batches = [LEAST_BYTES, BLOCK_BYTES, 3 * BLOCK_BYTES].map((size, index) =>
      batchOf(`p${index}`, size),
    );
    for (const [token, batch] of batches.entries()) fixture.append(token, 0, asLz4(batch));
    const counts = batches.map(({ messages }) => messages.length);
    assert.deepEqual(firstSequences(fixture.outcomes()), [0, counts[0]!, counts[0]! + counts[1]!]);
    assert.deepEqual(asTheyCame(fixture, batches), [true, true, true]);
    assert.deepEqual(
      storedMessages(fixture),
      batches.flatMap(({ messages }) => messages),
    );
  });

  it("is compressed again with its neighbours where it is small, into as few bytes as plain ones", () => {
    const batches = Array.from({ length: 40 }, (_, index) => batchOf(`p${index % 3}`, LEAST_BYTES / 8));
    const fixtures = [openFixture(), openFixture()];
    for (const [index, fixture] of fixtures.entries()) {
      for (const [token, batch] of batches.entries())
        fixture.append(token, 0, index === 0 ? asLz4(batch) : { messages: batch.messages });
      assert.equal(firstSequences(fixture.outcomes()).length, batches.length);
    }
    const [packed, plain] = fixtures.map(segmentBytes);
    assert.equal(packed!.length, plain!.length);
    assert.ok(asTheyCame(fixtures[0]!, batches).every((isSo) => !isSo));
    assert.deepEqual(
      storedMessages(fixtures[0]!),
      batches.flatMap(({ messages }) => messages),
    );
  });

  it("does not cut short the block that is gathered before it", () => {
    const fixture = openFixture();
    const [large, larger] = [batchOf("large", LEAST_BYTES), batchOf("larger", LEAST_BYTES)];
    fixture.append(1, 0, { messages: ["small"] });
    fixture.append(2, 0, asLz4(large));
    // By now there is enough for a block.
    fixture.append(3, 0, asLz4(larger));
    assert.deepEqual(firstSequences(fixture.outcomes()), [0, 1, 1 + large.messages.length]);
    assert.deepEqual(asTheyCame(fixture, [large, larger]), [false, true]);
    assert.deepEqual(storedMessages(fixture), ["small", ...large.messages, ...larger.messages]);
  });

  it("is compressed again where it did not shrink", () => {
    const fixture = openFixture();
    const messages = batchOf("plain", BLOCK_BYTES / 2).messages;
    const raw = framed(messages);
    // One sequence of literals and nothing else.
    const more = raw.length - 15;
    const head = [0xf0, ...new Array<number>(Math.floor(more / 255)).fill(255), more % 255];
    const block = Buffer.concat([Buffer.from(head), raw]);
    fixture.append(1, 0, asLz4({ messages, block, rawBytes: raw.length }));
    assert.deepEqual(firstSequences(fixture.outcomes()), [0]);
    assert.ok(segmentBytes(fixture).length < raw.length / 2 + 4096);
    assert.deepEqual(storedMessages(fixture), messages);
  });

  it("is compressed again where it is larger than a batch may be, since liblz4 wants another end of those of 4 MiB", () => {
    const fixture = openFixture();
    for (const [token, rawBytes] of [LZ4_BLOCK_RAW_BYTES_MAX, APPEND_BATCH_BYTES_MAX].entries()) {
      const start = Buffer.from("0000abcd");
      start.writeUInt32LE(rawBytes - 4);
      // The last match begins 9 bytes before the end.
      const block = Buffer.concat([
        sequenceOf(start, { offset: 4, length: rawBytes - 19 }),
        sequenceOf(Buffer.from("xy"), { offset: 4, length: 4 }),
        sequenceOf(Buffer.from("12345")),
      ]);
      fixture.append(token, 0, { bytes: block, flags: APPEND_FLAG_LZ4, rawBytes, count: 1 });
      assert.deepEqual(firstSequences(fixture.outcomes()), [token]);
      assert.equal(segmentBytes(fixture).includes(block), rawBytes === APPEND_BATCH_BYTES_MAX);
    }
  });

  it("gives the same messages from a stream in memory", () => {
    const fixture = openFixture({ persistence: Persistence.Memory });
    const batches = [batchOf("a", BLOCK_BYTES), batchOf("b", 100)];
    for (const [token, batch] of batches.entries()) fixture.append(token, 0, asLz4(batch));
    assert.equal(firstSequences(fixture.outcomes()).length, 2);
    assert.deepEqual(
      storedMessages(fixture),
      batches.flatMap(({ messages }) => messages),
    );
  });

  it("is stored once however often it is sent, also by one that is plain the second time, and after a restart", () => {
    const fixture = openFixture({ flushOnWrite: true });
    const [first, second] = [batchOf("a", BLOCK_BYTES), batchOf("b", 100)];
    const send = (to: AgentFixture, token: number, sequence: number, batch: Sent): void => {
      to.append(token, 0, { ...batch, producer: { id: 5, sequence } });
    };
    send(fixture, 1, 0, asLz4(first));
    send(fixture, 2, 1, asLz4(second));
    send(fixture, 3, 0, asLz4(first));
    send(fixture, 4, 0, { messages: first.messages });
    const places = [0, first.messages.length, 0, 0];
    const told = fixture.outcomes();
    for (let turn = 0; turn < 5; turn++) told.push(...fixture.afterSync());
    assert.deepEqual(firstSequences(told), places);
    const image = fixture.storage.durableImage(fixture.storage.operations.length);
    const after = new AgentFixture({ storage: new SimStorage({ image }), blockBytes: BLOCK_BYTES });
    assert.equal(after.open(0, { flushOnWrite: true }, { create: false }).kind, "done");
    assert.deepEqual(storedMessages(after), [...first.messages, ...second.messages]);
    send(after, 5, 1, asLz4(second));
    send(after, 6, 0, asLz4(first));
    assert.deepEqual(firstSequences([...after.outcomes(), ...after.afterSync(), ...after.afterSync()]), [
      first.messages.length,
      0,
    ]);
    assert.deepEqual(storedMessages(after), [...first.messages, ...second.messages]);
  });
});

describe("a compressed batch that is not what it says", () => {
  const good = batchOf("good", BLOCK_BYTES);
  const raw = framed(good.messages);
  const pack = (bytes: Buffer): Buffer => compressSync(bytes).subarray(4);
  const edited = (at: number, value: number): Buffer => {
    const bytes = Buffer.from(raw);
    bytes.writeUInt32LE(value, at);
    return pack(bytes);
  };
  const count = good.messages.length;
  const cases: readonly [string, { block?: Buffer; rawBytes?: number; count?: number }, RegExp][] = [
    ["too few messages", { count: count + 1 }, /message count differs/],
    ["too many messages", { count: count - 1 }, /message count differs/],
    ["fewer bytes than it says", { rawBytes: raw.length + 1 }, /not valid LZ4 of the announced 16\d+ bytes/],
    ["more bytes than it says", { rawBytes: raw.length - 1 }, /not valid LZ4 of the announced 16\d+ bytes/],
    ["a length that leads out of it", { block: edited(0, raw.length) }, /runs past the end/],
    ["a length that nearly wraps", { block: edited(0, 0xffff_fffe) }, /runs past the end/],
    ["an empty message", { block: edited(0, 0) }, /a message is empty/],
    ["a length that swallows the next message", { block: edited(0, 2 * good.messages[0]!.length) }, /./],
    ["half of a block", { block: good.block.subarray(0, good.block.length / 2) }, /not valid LZ4/],
    [
      "a frame around the block",
      { block: Buffer.concat([Buffer.from("04224d18607073", "hex"), good.block]) },
      /LZ4/,
    ],
    ["the size before the block", { block: compressSync(raw) }, /LZ4/],
    ["a bomb", { block: Buffer.concat([Buffer.of(0x1f, 0x61, 1, 0), Buffer.alloc(8192, 255)]) }, /LZ4/],
  ];
  for (const [fault, change, text] of cases) {
    it(`is refused for ${fault}, between others that are taken`, () => {
      const fixture = openFixture();
      fixture.append(1, 0, asLz4(good));
      const { block = good.block, ...said } = change;
      fixture.append(2, 0, { ...asLz4({ ...good, block }), ...said });
      fixture.append(3, 0, asLz4(good));
      const [before, failed, after, ...rest] = fixture.outcomes();
      const unpacked = 2 * good.rawBytes + (change.rawBytes ?? good.rawBytes);
      assert.equal(fixture.agent.takeUnpackedBytes(), unpacked, "a refused one counts for what it says");
      assert.equal(fixture.agent.takeUnpackedBytes(), 0);
      assert.deepEqual(firstSequences([before!, after!]), [0, count]);
      assert.deepEqual(rest, []);
      assert.ok(failed?.kind === "failed");
      assert.deepEqual([failed.token, failed.code], [2, "INVALID_REQUEST"]);
      assert.match(failed.text, text);
      assert.deepEqual(storedMessages(fixture), [...good.messages, ...good.messages]);
    });
  }

  it("is refused or holds whole messages, whichever bits are flipped, and takes no others with it", () => {
    const random = seededRandom(testSeed);
    const fixture = openFixture();
    const flips = 400;
    let taken = 0;
    for (let token = 0; token < flips; token++) {
      const block = Buffer.from(good.block);
      block[Math.floor(random.fraction() * block.length)]! ^= 1 << Math.floor(random.fraction() * 8);
      fixture.append(token, 0, { ...asLz4(good), bytes: block });
      const told = fixture.outcomes();
      // Now and then it is held until a sync has caught up.
      const [outcome, ...rest] = told.length > 0 ? told : fixture.afterSync();
      assert.deepEqual(rest, []);
      if (outcome?.kind === "failed") assert.equal(outcome.code, "INVALID_REQUEST");
      else {
        assert.deepEqual(outcome, { kind: "appended", token, firstSequence: taken * count });
        taken += 1;
      }
    }
    assert.ok(taken < flips, "some are refused");
    assert.equal(storedMessages(fixture).length, taken * count);
  });
});
