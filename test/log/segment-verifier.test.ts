import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { crc32 } from "node:zlib";

import { type BlockHeader, BlockKind, encodeBlockHeader } from "../../src/log/block-layout.ts";
import { type Finding, FindingList } from "../../src/log/findings.ts";
import { type BlockPart, inspectSegment } from "../../src/log/segment-inspector.ts";
import { decodeSegmentHeader, SEGMENT_HEADER_BYTES } from "../../src/log/segment-layout.ts";
import { type SegmentContents, verifySegment } from "../../src/log/segment-verifier.ts";
import { StreamLog } from "../../src/log/stream-log.ts";
import { SeededRandom } from "../support/deterministic.ts";
import { blockOf, costOf, logOptions, smallPolicy, STREAM_DIRECTORY } from "../support/log-fixture.ts";
import { SimStorage } from "../support/sim-storage.ts";

/** A sealed segment of three blocks that LZ4 could not shrink, so that their bytes can be changed in place. */
function makeSegment(): Buffer {
  const storage = new SimStorage();
  storage.makeDirectory("/store");
  const random = new SeededRandom(3);
  const log = StreamLog.create(logOptions(storage, { policy: { ...smallPolicy, segmentSize: 16_000 } }));
  for (let block = 0; block < 4; block++) {
    const texts = [400, 300, 200].map((length) => Buffer.from(random.bytes(length)).toString("latin1"));
    const batch = blockOf(texts);
    log.admit(costOf(batch));
    log.append(batch);
    log.sync((error) => assert.equal(error, undefined));
    storage.completeSyncs();
  }
  log.close();
  const [first] = storage
    .list(STREAM_DIRECTORY)
    .map(({ name }) => name)
    .sort();
  return storage.read(`${STREAM_DIRECTORY}/${first!}`);
}

function fileOf(bytes: Buffer): ReturnType<SimStorage["open"]> {
  const storage = new SimStorage();
  storage.put("/segment", bytes);
  return storage.open("/segment", "read");
}

function blocksOf(bytes: Buffer): BlockPart[] {
  const parts = [...inspectSegment({ file: fileOf(bytes), endBytes: bytes.length })];
  return parts.filter((part) => part.kind === "block");
}

function verify(bytes: Buffer): { findings: readonly Finding[]; contents: SegmentContents } {
  const findings = new FindingList();
  const walk = verifySegment({
    file: fileOf(bytes),
    path: "segment",
    header: decodeSegmentHeader(bytes)!,
    endBytes: bytes.length,
    tail: "none",
    limitSequence: 9,
    findings,
  });
  let step = walk.next();
  while (step.done !== true) step = walk.next();
  return { findings: findings.kept, contents: step.value };
}

/** Writes a block's header anew, as our own code would have: its checksum holds, its content is wrong. */
function forge(bytes: Buffer, block: BlockPart, changes: Partial<BlockHeader>): void {
  const { segmentId } = decodeSegmentHeader(bytes)!;
  const header = encodeBlockHeader({ ...block.header, ...changes }, segmentId, block.offset);
  assert.equal(header.length, block.header.headerBytes);
  header.copy(bytes, block.offset);
}

/** A view of the stored bytes: 7 bytes of frame header, 4 of size, the messages, 4 of end. */
function bodyOf(bytes: Buffer, { offset, nextOffset, header }: BlockPart): Buffer {
  return bytes.subarray(offset + header.headerBytes, nextOffset);
}

interface Forgery {
  readonly text: RegExp;
  /** Messages of the block, which cannot be read then. */
  readonly lost?: readonly [number, number];
  readonly make: (bytes: Buffer, blocks: BlockPart[]) => void;
}

const forgeries: Record<string, Forgery> = {
  "stored bytes that are others": {
    text: /checksum of the stored bytes/,
    lost: [3, 6],
    make: (bytes, [, second]) => forge(bytes, second!, { storedCrc: second!.header.storedCrc ^ 1 }),
  },
  "bytes that are no LZ4": {
    text: /do not decompress/,
    lost: [3, 6],
    make: (bytes, [, second]) => {
      const body = bodyOf(bytes, second!);
      body[0]! ^= 1;
      forge(bytes, second!, { storedCrc: crc32(body) });
    },
  },
  "messages that are others": {
    text: /checksum of the messages/,
    lost: [3, 6],
    make: (bytes, [, second]) => forge(bytes, second!, { rawCrc: (second!.header.rawCrc ^ 1) >>> 0 }),
  },
  "messages that do not add up": {
    text: /do not add up/,
    lost: [3, 6],
    make: (bytes, [, second]) => {
      const body = bodyOf(bytes, second!);
      body[11]! ^= 1;
      forge(bytes, second!, { storedCrc: crc32(body), rawCrc: crc32(body.subarray(11, -4)) });
    },
  },
  "numbers that are skipped": {
    text: /a block begins with 4 where 3 comes next/,
    make: (bytes, blocks) => {
      for (const block of blocks.slice(1))
        forge(bytes, block, { firstSequence: block.header.firstSequence + 1 });
    },
  },
  "numbers that were there before": {
    text: /a block begins with 2 where 3 comes next/,
    make: (bytes, [, second]) =>
      forge(bytes, second!, { firstSequence: 2, messageCount: second!.header.messageCount }),
  },
  "payload bytes that do not add up": {
    text: /states 901 payload bytes before it where there are 900/,
    make: (bytes, blocks) => {
      for (const block of blocks.slice(1))
        forge(bytes, block, { payloadOffset: block.header.payloadOffset + 1 });
    },
  },
  "more that was durable than there was": {
    text: /states that \d+ bytes were durable/,
    make: (bytes, [, second]) => forge(bytes, second!, { syncedPosition: second!.offset + 1 }),
  },
  "an age that goes back": {
    text: /younger than its segment, and comes after one of/,
    make: (bytes, [first]) => forge(bytes, first!, { ageDeltaMs: first!.header.ageDeltaMs + 1000 }),
  },
  "a seal that knows another count": {
    text: /the seal states messageCount 10 and the blocks hold 9/,
    make: (bytes, blocks) => {
      const seal = blocks.at(-1)!;
      forge(bytes, seal, { summary: { ...seal.header.summary!, messageCount: 10 } });
    },
  },
  "padding that is not zero": {
    text: /padding is not zero; no message is concerned/,
    make: (bytes, [first]) => void (bytes[first!.nextOffset + 20]! ^= 1),
  },
};

describe("verifySegment", () => {
  it("has nothing to say of the segment that the forgeries are made of", () => {
    const bytes = makeSegment();
    const blocks = blocksOf(bytes);
    assert.deepEqual(
      blocks.map(({ header }) => header.kind),
      [BlockKind.Data, BlockKind.Data, BlockKind.Data, BlockKind.Seal],
    );
    const { findings, contents } = verify(bytes);
    assert.deepEqual(findings, []);
    assert.deepEqual([contents.messages, contents.payloadBytes, contents.endSequence], [9, 2700, 9]);
  });

  for (const [name, { text, lost, make }] of Object.entries(forgeries)) {
    it(`finds ${name}`, () => {
      const bytes = makeSegment();
      make(bytes, blocksOf(bytes));
      const { findings, contents } = verify(bytes);
      const found = findings.find((finding) => text.test(finding.text));
      assert.ok(found !== undefined, JSON.stringify(findings));
      assert.equal(found.severity, "damage");
      if (lost === undefined) return;
      assert.equal(findings.length, 1, JSON.stringify(findings));
      assert.deepEqual([found.fromSequence, found.toSequence], lost);
      assert.deepEqual([contents.messages, contents.payloadBytes, contents.endSequence], [6, 1800, 9]);
    });
  }

  it("finds a block behind the seal", () => {
    const bytes = makeSegment();
    const [first] = blocksOf(bytes);
    const header = { ...first!.header, firstSequence: 9, payloadOffset: 2700 };
    const { segmentId } = decodeSegmentHeader(bytes)!;
    const body = bodyOf(bytes, first!);
    const longer = Buffer.concat([bytes, encodeBlockHeader(header, segmentId, bytes.length), body]);
    const texts = verify(longer).findings.map(({ text }) => text);
    assert.ok(
      texts.some((text) => text.includes("behind the seal")),
      texts.join("; "),
    );
  });

  it("loses to a damaged header the block's own messages, and none where it stood for none", () => {
    const bytes = makeSegment();
    const blocks = blocksOf(bytes);
    const broken = Buffer.from(bytes);
    broken[blocks[1]!.offset + 40]! ^= 1;
    const [finding, ...others] = verify(broken).findings;
    assert.deepEqual(others, []);
    assert.deepEqual([finding?.fromSequence, finding?.toSequence], [3, 6]);
    const sealless = Buffer.from(bytes);
    sealless[blocks.at(-1)!.offset + 40]! ^= 1;
    const [last] = verify(sealless).findings;
    assert.match(last?.text ?? "", /no message is concerned/);
    assert.equal(last?.fromSequence, undefined);
    assert.ok(SEGMENT_HEADER_BYTES < last!.offset!);
  });
});
