import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { formatStream, formatStreams } from "../../src/cli/stream-report.ts";
import { emptyExportDefinition, type MessageStreamInfo } from "../../src/core/stream-definition.ts";

const empty: MessageStreamInfo = {
  definition: {
    name: "raw",
    maxSize: 268_435_456,
    streamSegmentSize: 16_777_216,
    strategyOnFull: 0,
    persistence: 0,
    flushOnWrite: false,
    exportDefinition: emptyExportDefinition,
  },
  storageStatus: { oldestSequenceNumber: 0, newestSequenceNumber: -1, totalBytes: 0 },
  exportStatuses: [],
};

const exporting: MessageStreamInfo = {
  definition: {
    ...empty.definition,
    name: "inferences",
    timeToLiveMillis: 60_000,
    strategyOnFull: 1,
    persistence: 1,
    exportDefinition: {
      ...emptyExportDefinition,
      kinesis: [
        { identifier: "first", kinesisStreamName: "a", priority: 1 },
        { identifier: "second", kinesisStreamName: "b", disabled: true },
      ],
    },
  },
  storageStatus: { oldestSequenceNumber: 10, newestSequenceNumber: 19, totalBytes: 1536 },
  exportStatuses: [
    {
      exportConfigIdentifier: "first",
      lastExportedSequenceNumber: 14,
      lastExportTime: Date.UTC(2026, 0, 2),
      errorMessage: "no route",
      exportedBytesFromStream: 500,
      exportedMessagesCount: 5,
    },
  ],
};

describe("formatStreams", () => {
  it("gives a line for each stream", () => {
    assert.deepEqual(formatStreams([empty, exporting]).split("\n"), [
      "name        messages  size     persistence  exporters",
      "raw                0  0 B      File                 0",
      "inferences        10  1.5 KiB  Memory               2",
    ]);
  });
});

describe("formatStream", () => {
  it("shows definition and storage of an empty stream", () => {
    assert.deepEqual(formatStream(empty).split("\n"), [
      "name              raw",
      "persistence       File",
      "flush on write    no",
      "when full         reject new",
      "maximum size      256 MiB",
      "segment size      16 MiB",
      "time to live      none",
      "messages          0",
      "sequence numbers  none, the next is 0",
      "size              0 B",
      "exporters         none",
    ]);
  });

  it("shows each exporter with what it has done", () => {
    assert.deepEqual(formatStream(exporting).split("\n").slice(6), [
      "time to live      60000 ms",
      "messages          10",
      "sequence numbers  10 to 19",
      "size              1.5 KiB",
      "",
      "exporter  destination  priority  exported  bytes  last attempt              error",
      "first     kinesis      1                5  500 B  2026-01-02T00:00:00.000Z  no route",
      "second    kinesis      disabled         0  0 B    never",
    ]);
  });
});
