import assert from "node:assert/strict";
import { describe, it } from "node:test";
import {
  formatSummary,
  summarize,
  type DemoOutcome,
  type StreamOutcome,
} from "../../src/cli/demo-summary.ts";

const allThere = { correct: 1500, missing: 0, wrong: 0, duplicates: 0, outOfOrder: 0 };
const stream: StreamOutcome = {
  appended: 1500,
  acknowledged: 1500,
  acceptedBytes: 150_000,
  resent: 0,
  inStream: allThere,
  inKinesis: allThere,
  exportError: "",
};

function outcomeOf(changes: Partial<StreamOutcome> = {}): DemoOutcome {
  return {
    sensorCount: 50,
    anomalyCount: 3,
    appendSeconds: 2,
    exportSeconds: 3,
    storedBytes: 100_000,
    streams: { readings: stream, inferences: { ...stream, ...changes } },
  };
}

describe("summarize", () => {
  it("adds both streams up", () => {
    const { streams, ...total } = summarize(outcomeOf());
    assert.deepEqual(total, {
      isComplete: true,
      appended: 3000,
      acceptedBytes: 300_000,
      storedBytes: 100_000,
      ratio: 3,
      exported: 3000,
      missing: 0,
      wrong: 0,
      duplicates: 0,
      appendedPerSecond: 1500,
      exportedPerSecond: 1000,
      sensors: 50,
      anomalies: 3,
      appendSeconds: 2,
      exportSeconds: 3,
    });
    assert.deepEqual(Object.keys(streams), ["DemoReadings", "DemoInferences"]);
  });

  const flaws: Record<string, Partial<StreamOutcome>> = {
    "missing from the stream": { inStream: { ...allThere, correct: 1499, missing: 1 } },
    "missing from Kinesis": { inKinesis: { ...allThere, correct: 1499, missing: 1 } },
    "wrong in the stream": { inStream: { ...allThere, wrong: 1 } },
    "wrong in Kinesis": { inKinesis: { ...allThere, wrong: 1 } },
    "never acknowledged": { acknowledged: 1499 },
    "stored twice, also one that was sent twice": { inStream: { ...allThere, duplicates: 1 }, resent: 5 },
    "stored out of order": { inStream: { ...allThere, outOfOrder: 1 } },
  };
  for (const [name, changes] of Object.entries(flaws)) {
    it(`is not complete with a message ${name}`, () => {
      const summary = summarize(outcomeOf(changes));
      assert.equal(summary.isComplete, false);
      assert.match(formatSummary(summary), /NOT COMPLETE/);
    });
  }

  it("is complete with duplicates in Kinesis", () => {
    const summary = summarize(outcomeOf({ inKinesis: { ...allThere, duplicates: 5 } }));
    assert.ok(summary.isComplete);
    assert.equal(summary.duplicates, 5);
  });

  it("is not complete when nothing was appended", () => {
    const nothing = { ...stream, appended: 0, acknowledged: 0, acceptedBytes: 0 };
    const outcome = { ...outcomeOf(), storedBytes: 0, streams: { readings: nothing, inferences: nothing } };
    assert.equal(summarize(outcome).isComplete, false);
  });
});

describe("formatSummary", () => {
  it("shows the figures of each stream and of both, aligned", () => {
    const lines = formatSummary(summarize(outcomeOf())).split("\n");
    assert.equal(lines[0], "                     DemoReadings  DemoInferences     total");
    assert.equal(lines[1], "appended                    1,500           1,500     3,000");
    assert.equal(lines[4], "stored                                             97.7 KiB");
  });

  it("says why an export did not end", () => {
    const exportError = "export stream DemoInferences doesn't exist";
    const missing = { ...allThere, correct: 0, missing: 1500 };
    const text = formatSummary(summarize(outcomeOf({ exportError, inKinesis: missing })));
    assert.match(text, /Export of DemoInferences: export stream DemoInferences doesn't exist$/);
  });
});
