import assert from "node:assert/strict";
import { describe, it } from "node:test";
import {
  blockCandidates,
  Certainty,
  choose,
  median,
  spread,
  workerCandidates,
} from "../../../src/cli/tune/tune-choice.ts";
import { inferencePayloads, PAYLOAD_BYTES_MEAN } from "../../../src/cli/tune/tune-round.ts";

describe("inferencePayloads", () => {
  it("are as large as the report says", () => {
    const payloads = inferencePayloads();
    const bytes = payloads.reduce((sum, { length }) => sum + length, 0);
    assert.equal(Math.round(bytes / payloads.length), PAYLOAD_BYTES_MEAN);
  });
});

describe("choose", () => {
  const standard = { value: 2, rates: [100, 110, 90] };

  it("takes the fastest whose every round beats every round of the default", () => {
    const choice = choose(
      [{ value: 1, rates: [50, 60, 70] }, standard, { value: 4, rates: [130, 111, 140] }],
      2,
    );
    assert.deepEqual(choice, { value: 4, certainty: Certainty.Clear, fastest: 4, gain: 130 / 100 - 1 });
  });

  it("keeps the default where the rounds overlap, however much the median is above", () => {
    const { value, certainty, fastest } = choose([standard, { value: 4, rates: [500, 110, 500] }], 2);
    assert.deepEqual([value, certainty, fastest], [2, Certainty.WithinNoise, 4]);
  });

  it("keeps the default where too little is gained", () => {
    const steady = { value: 2, rates: [100, 100, 100] };
    const { value, certainty } = choose([steady, { value: 4, rates: [104, 104, 104] }], 2);
    assert.deepEqual([value, certainty], [2, Certainty.WithinNoise]);
    assert.equal(choose([steady, { value: 4, rates: [106, 106, 106] }], 2).value, 4);
  });

  it("is sure of nothing with fewer than three rounds", () => {
    const one = [
      { value: 2, rates: [100] },
      { value: 4, rates: [300] },
    ];
    assert.equal(choose(one, 2).certainty, Certainty.WithinNoise);
    const two = [
      { value: 2, rates: [100, 101] },
      { value: 4, rates: [300, 301] },
    ];
    assert.equal(choose(two, 2).value, 2);
  });

  it("says when the default was the fastest", () => {
    const { value, certainty, gain } = choose([standard, { value: 4, rates: [1, 2, 3] }], 2);
    assert.deepEqual([value, certainty, gain], [2, Certainty.DefaultIsBest, 0]);
  });
});

describe("median, spread", () => {
  it("go by the rounds in any order", () => {
    assert.deepEqual([median([3, 1, 2]), median([4, 1, 3, 2]), spread([90, 110, 100])], [2, 2.5, 0.2]);
  });
});

describe("candidates", () => {
  it("are worker counts up to the cores, sparse above four, with the default", () => {
    assert.deepEqual(workerCandidates(1, 1), [1]);
    assert.deepEqual(workerCandidates(4, 2), [1, 2, 3, 4]);
    assert.deepEqual(workerCandidates(6, 3), [1, 2, 3, 4]);
    assert.deepEqual(workerCandidates(64, 4), [1, 2, 3, 4, 8, 16]);
    assert.deepEqual(workerCandidates(1, 4), [1, 4]);
  });

  it("are block sizes around the default", () => {
    assert.deepEqual(blockCandidates(262_144), [65_536, 131_072, 262_144, 1_048_576]);
    assert.deepEqual(blockCandidates(8192)[0], 8192);
  });
});
