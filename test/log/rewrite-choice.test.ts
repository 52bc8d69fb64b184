import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { REWRITE_MERGE_SEGMENTS } from "../../src/core/limits.ts";
import { UNKNOWN_AGE } from "../../src/log/age-point.ts";
import { BLOCK_AGE_MS_MAX } from "../../src/log/block-layout.ts";
import { type ChoiceLimits, chooseSources } from "../../src/log/rewrite-choice.ts";
import type { SegmentInfo } from "../../src/log/segment-writer.ts";
import { smallPolicy } from "../support/log-fixture.ts";

const MESSAGES = 100;
const PAYLOAD_BYTES = 10_000;
const SPAN_MS = 1000;

interface Changes {
  readonly epoch?: number;
  readonly clockEra?: number;
  readonly isRewritten?: boolean;
  readonly blockCount?: number;
  readonly endBytes?: number;
  readonly payloadBytes?: number;
  readonly isAgeUnknown?: boolean;
  /** It began so much later. */
  readonly lateMs?: number;
  /** Messages that are missing behind it. */
  readonly missing?: number;
}

/** Complete segments one behind the other, of one block each. */
function segmentsOf(...changes: readonly Changes[]): SegmentInfo[] {
  let sequence = 0;
  let payloadOffset = 0;
  return changes.map((change, at) => {
    const { epoch = 1, clockEra = 0, blockCount = 1, payloadBytes = PAYLOAD_BYTES, endBytes = 8000 } = change;
    const baseSequence = sequence;
    const basePayloadOffset = payloadOffset;
    sequence += MESSAGES;
    payloadOffset += payloadBytes;
    const end = { endSequence: sequence, endPayloadOffset: payloadOffset };
    sequence += change.missing ?? 0;
    return {
      path: `/store/stream/${at}`,
      header: {
        baseSequence,
        basePayloadOffset,
        epoch,
        clockEra,
        generation: 0,
        createdMs: 0,
        ageMs: at * SPAN_MS + (change.lateMs ?? 0),
        runMs: 0,
        reference: undefined,
        streamId: Buffer.alloc(16),
        segmentId: Buffer.alloc(16, at),
        predecessor: undefined,
        rewritten: change.isRewritten === true ? end : undefined,
      },
      ...end,
      endBytes,
      summary: {
        messageCount: MESSAGES,
        payloadBytes,
        rawBytes: payloadBytes + 4 * MESSAGES,
        blockCount,
        firstIngestMs: at * SPAN_MS,
        lastIngestMs: (at + 1) * SPAN_MS,
        namesProducers: false,
        lastAge: change.isAgeUnknown === true ? UNKNOWN_AGE : { ageMs: (at + 1) * SPAN_MS, runMs: 0 },
      },
    };
  });
}

function many(count: number, change: Changes = {}): Changes[] {
  return Array.from({ length: count }, () => change);
}

const limits: ChoiceLimits = {
  blockBytes: 16_384,
  policy: { ...smallPolicy, segmentSize: 1_000_000, maxSize: 4_000_000 },
  isRefused: () => false,
};

/** Places of what is chosen. */
function choose(segments: readonly SegmentInfo[], changes: Partial<ChoiceLimits> = {}): number[] | undefined {
  return chooseSources(segments, { ...limits, ...changes })?.map((segment) => segments.indexOf(segment));
}

const small: Changes = { blockCount: 10, endBytes: 20_000 };

describe("chooseSources", () => {
  it("takes the oldest segment of small blocks, before any that could be made one", () => {
    const segments = segmentsOf(...many(10), small, {}, small);
    assert.deepEqual(choose(segments), [10]);
    assert.deepEqual(choose(segments, { isRefused: (segment) => segment === segments[10] }), [12]);
  });

  it("leaves few blocks, little bytes, big blocks and what was rewritten alone", () => {
    for (const change of [
      { ...small, blockCount: 7 },
      { ...small, endBytes: 16_383 },
      { ...small, payloadBytes: 50_000 },
      { ...small, isRewritten: true },
    ]) {
      assert.equal(choose(segmentsOf({}, change)), undefined, JSON.stringify(change));
    }
  });

  it("takes eight neighbours of about one size, the oldest first", () => {
    assert.equal(choose(segmentsOf(...many(REWRITE_MERGE_SEGMENTS - 1))), undefined);
    assert.deepEqual(choose(segmentsOf(...many(12))), [0, 1, 2, 3, 4, 5, 6, 7]);
    const large = { payloadBytes: 60_000 };
    assert.deepEqual(choose(segmentsOf(...many(7, large), ...many(9))), [7, 8, 9, 10, 11, 12, 13, 14]);
    assert.equal(choose(segmentsOf(...many(7, large), ...many(7))), undefined);
    assert.deepEqual(choose(segmentsOf(...many(4, { payloadBytes: 30_000 }), ...many(4)))?.length, 8);
  });

  it("takes no neighbours that something lies between", () => {
    for (const change of [{ missing: 1 }, { epoch: 2 }, { clockEra: 3 }]) {
      const segments = segmentsOf(...many(5), change, ...many(5));
      assert.equal(choose(segments), undefined, JSON.stringify(change));
      assert.deepEqual(choose(segmentsOf(...many(5), change, ...many(9)))?.length, 8);
    }
    const segments = segmentsOf(...many(15));
    assert.equal(choose(segments, { isRefused: (segment) => segment === segments[7] }), undefined);
    const unreadable = segmentsOf(...many(8)).map((segment) => ({
      ...segment,
      summary: { ...segment.summary, messageCount: 0, payloadBytes: 0 },
    }));
    assert.equal(choose(unreadable), undefined);
  });

  it("makes no segment larger than one may be, nor one that a time to live would keep too long", () => {
    const segments = segmentsOf(...many(8));
    const sum = 8 * (PAYLOAD_BYTES + 24 * MESSAGES);
    const sized = (segmentSize: number): Partial<ChoiceLimits> => ({
      policy: { ...limits.policy, segmentSize },
    });
    assert.equal(choose(segments, sized(sum))?.length, 8);
    assert.equal(choose(segments, sized(sum - 1)), undefined);
    const living = (timeToLiveMs: number): Partial<ChoiceLimits> => ({
      policy: { ...limits.policy, timeToLiveMs },
    });
    assert.equal(choose(segments, living(64 * SPAN_MS))?.length, 8);
    assert.equal(choose(segments, living(64 * SPAN_MS - 1)), undefined);
    const unknown = segmentsOf(...many(7), { isAgeUnknown: true });
    assert.equal(choose(unknown)?.length, 8);
    assert.equal(choose(unknown, living(64 * SPAN_MS)), undefined);
    assert.equal(choose(segmentsOf(...many(7), { lateMs: BLOCK_AGE_MS_MAX / 2 })), undefined);
  });
});
