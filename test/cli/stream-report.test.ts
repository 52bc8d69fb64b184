import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { formatStream, formatStreams } from "../../src/cli/stream-report.ts";
import type { ExporterDescription, StreamDescription } from "../../src/core/stream-description.ts";
import { emptyExportDefinition } from "../../src/core/stream-definition.ts";
import type { MessageTotals } from "../../src/core/stream-ledger.ts";

const totals = (messages: number, payloadBytes = 100 * messages): MessageTotals => ({
  messages,
  payloadBytes,
});

const empty: StreamDescription = {
  definition: {
    name: "raw",
    maxSize: 268_435_456,
    streamSegmentSize: 16_777_216,
    strategyOnFull: 0,
    persistence: 0,
    flushOnWrite: true,
    exportDefinition: emptyExportDefinition,
  },
  options: { freeExported: false },
  state: "ok",
  epoch: 3,
  storage: {
    oldestSequence: 0,
    nextSequence: 0,
    syncedEndSequence: 0,
    totalBytes: 0,
    storedBytes: 0,
    unsyncedBytes: 0,
    writtenBytes: 0,
    rewrittenBytes: 0,
  },
  ledger: {
    appended: totals(0),
    stored: totals(0),
    overwritten: totals(0),
    expired: totals(0),
    deleted: totals(0),
    damaged: totals(0),
    drops: [],
    damage: [],
  },
  appendRate: { messagesPerSecond: 0, bytesPerSecond: 0 },
  forecast: { fullInMs: null },
  exporters: [],
};

function exporter(identifier: string, changes: Partial<ExporterDescription>): ExporterDescription {
  return {
    identifier,
    kind: "kinesis",
    priority: null,
    disabled: false,
    state: "idle",
    exportRate: { messagesPerSecond: 0, bytesPerSecond: 0 },
    forecast: { lossInMs: null, drainedInMs: 0 },
    position: 0,
    durablePosition: 0,
    lastExportTimeMs: 0,
    errorMessage: "",
    appended: totals(20),
    rewound: totals(0),
    exported: totals(0),
    pending: totals(0),
    overwritten: totals(0),
    expired: totals(0),
    deleted: totals(0),
    setAside: totals(0),
    damaged: totals(0),
    skipped: totals(0),
    losses: [],
    ...changes,
  };
}

const timeMs = Date.UTC(2026, 0, 2);

const exporting: StreamDescription = {
  ...empty,
  definition: {
    ...empty.definition,
    name: "inferences",
    flushOnWrite: false,
    timeToLiveMillis: 3_600_000,
    strategyOnFull: 1,
  },
  options: { freeExported: true },
  lastUncleanEnd: { sequence: 12, epoch: 3, timeMs },
  storage: {
    oldestSequence: 10,
    nextSequence: 20,
    syncedEndSequence: 18,
    totalBytes: 1240,
    storedBytes: 900,
    unsyncedBytes: 120,
    writtenBytes: 2048,
    rewrittenBytes: 512,
    rewriteFaults: { count: 2, last: "EIO: i/o error, write" },
    powerCutLossMax: { syncIntervalMs: 1000, syncBytes: 4_194_304, workerSyncBytes: 16_777_216 },
  },
  ledger: {
    appended: totals(20),
    stored: totals(9),
    overwritten: totals(6),
    expired: totals(0),
    deleted: totals(4),
    damaged: totals(1),
    drops: [
      { reason: "deleted", fromSequence: 0, toSequence: 4, ...totals(4), timeMs },
      { reason: "overwritten", fromSequence: 4, toSequence: 10, ...totals(6), timeMs },
    ],
    damage: [{ reason: "corrupt", fromSequence: 15, toSequence: 16, ...totals(1), timeMs }],
  },
  exporters: [
    exporter("first", {
      priority: 1,
      position: 15,
      lastExportTimeMs: timeMs,
      errorMessage: "no route",
      exported: totals(9),
      overwritten: totals(5),
      setAside: totals(1),
      pending: totals(5),
      losses: [
        { reason: "overwritten", fromSequence: 4, toSequence: 9, ...totals(5), timeMs },
        { reason: "setAside", fromSequence: 12, toSequence: 13, ...totals(1), timeMs },
      ],
    }),
    exporter("second", { disabled: true, pending: totals(10), deleted: totals(4), overwritten: totals(6) }),
  ],
};

describe("what is beside the account", () => {
  it("names companion streams, and what is to be known of an exporter", () => {
    const setAside = { stream: "raw.set-aside", redrives: [] };
    const noticed = exporter("k", { notice: "AWS ended it", fallbackMessages: 1 });
    const text = formatStream({ ...empty, setAside, exporters: [noticed] });
    assert.match(text, /^set aside in +raw\.set-aside$/m);
    assert.match(text, /^ +AWS ended it$/m);
    assert.match(text, /^ +1 message got a random partition key$/m);
    const companion = formatStream({ ...empty, options: { freeExported: false, companionOf: "raw" } });
    assert.match(companion, /^set aside from +raw$/m);
  });
});

describe("formatStreams", () => {
  it("gives a line for each stream", () => {
    const broken: StreamDescription = { ...empty, state: "fenced", lastFault: "no segment can be read" };
    assert.deepEqual(formatStreams([broken, exporting]).split("\n"), [
      "name        messages  size     persistence  exporters  state",
      "raw                0  0 B      File                 0  fenced",
      "inferences         9  1.2 KiB  File                 2  ok",
    ]);
  });
});

describe("formatStream", () => {
  it("shows definition, storage and account of an empty stream", () => {
    assert.deepEqual(formatStream(empty).split("\n"), [
      "name               raw",
      "state              ok",
      "persistence        File",
      "flush on write     yes",
      "when full          reject new",
      "maximum size       256 MiB",
      "segment size       16 MiB",
      "time to live       none",
      "free exported      no",
      "sequence numbers   none, the next is 0",
      "size               0 B, stored in 0 B",
      "written            0 B",
      "a power cut takes  nothing",
      "appended of late   0 messages and 0 B a second",
      "",
      "account   stream  bytes",
      "appended       0    0 B",
      "stored         0    0 B",
    ]);
  });

  it("counts one message as one", () => {
    const storage = { ...empty.storage, nextSequence: 1, syncedEndSequence: 0, unsyncedBytes: 5 };
    const text = formatStream({ ...empty, storage, appendRate: { messagesPerSecond: 1, bytesPerSecond: 5 } });
    assert.match(text, /^appended of late +1 message and 5 B a second$/m);
    assert.match(text, /^not synced +1 message, 5 B$/m);
  });

  it("shows what is not synced, what is gone and why, and each exporter beside the stream", () => {
    assert.deepEqual(formatStream(exporting).split("\n").slice(7), [
      "time to live       1 h",
      "free exported      yes",
      "sequence numbers   10 to 19",
      "size               1.2 KiB, stored in 900 B",
      "written            2 KiB, and 512 B again in full-size blocks",
      "a power cut takes  at most the newest 1 s or 4 MiB, and what comes while a sync runs",
      "appended of late   0 messages and 0 B a second",
      "not synced         2 messages, 120 B",
      "failed rewrites    2, the last: EIO: i/o error, write",
      "last unclean end   at 12, found 2026-01-02T00:00:00.000Z",
      "",
      "account      stream  bytes  first  bytes  second   bytes",
      "appended         20  2 KiB     20  2 KiB      20   2 KiB",
      "stored            9  900 B",
      "exported                        9  900 B       0     0 B",
      "pending                         5  500 B      10  1000 B",
      "overwritten       6  600 B      5  500 B       6   600 B",
      "freed             4  400 B      0    0 B       4   400 B",
      "set aside                       1  100 B       0     0 B",
      "damaged           1  100 B      0    0 B       0     0 B",
      "",
      "gone         from  to  bytes  time                      of",
      "freed           0   3  400 B  2026-01-02T00:00:00.000Z  stream",
      "overwritten     4   9  600 B  2026-01-02T00:00:00.000Z  stream",
      "corrupt        15  15  100 B  2026-01-02T00:00:00.000Z  stream",
      "set aside      12  12  100 B  2026-01-02T00:00:00.000Z  first",
      "",
      "exporter  state  pending   bytes   oldest  sent/s  drained in  loses in",
      "first     idle         5   500 B  unknown       0         now     never",
      "second    idle        10  1000 B  unknown       0         now     never",
      "  first: kinesis, priority 1, at 15, no success yet",
      "  failing: no route",
      "  second: kinesis, priority last, at 0, no success yet",
    ]);
  });

  it("says why a stream is not ok, and what only memory holds", () => {
    const { storage } = exporting;
    const readOnly: StreamDescription = {
      ...exporting,
      state: "read-only",
      lastFault: "EIO: write",
      storage: { ...storage, atRisk: { fromSequence: 18, toSequence: 20 } },
    };
    const text = formatStream(readOnly);
    assert.match(text, /^state +read-only: EIO: write$/m);
    assert.match(text, /^at risk +18 to 19, which only memory holds$/m);
    assert.match(
      formatStream({ ...empty, lastFault: "EIO: sync" }),
      /^state +ok \(the last fault was: EIO: sync\)$/m,
    );
    const memory = { ...empty, definition: { ...empty.definition, persistence: 1 as const } };
    assert.match(formatStream(memory), /^a power cut takes +everything; so does any end of the engine$/m);
  });

  it("puts many exporters below each other, so that lines stay readable", () => {
    const exporters = Array.from({ length: 9 }, (_, index) => exporter(`exporter ${index}`, {}));
    const heads = formatStream({ ...exporting, exporters })
      .split("\n")
      .filter((line) => line.startsWith("account"));
    assert.equal(heads.length, 3);
    assert.ok(heads.every((line) => line.length < 100));
  });
});
