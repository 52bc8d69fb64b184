import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { describe, it, type TestContext } from "node:test";
import { Command } from "commander";
import { UsageError } from "../../src/cli/command-context.ts";
import {
  buildStream,
  changeStream,
  withChangeOptions,
  withDefinitionOptions,
  type DefinitionFlags,
} from "../../src/cli/definition-options.ts";
import { emptyExportDefinition, type StreamDefinition } from "../../src/core/stream-definition.ts";

function build(...args: string[]) {
  const command = withDefinitionOptions(new Command("create")).exitOverride();
  command.configureOutput({ writeErr: () => undefined });
  command.parse(args, { from: "user" });
  return buildStream("raw", command.opts<DefinitionFlags>()).definition;
}

function flagsOf(...args: string[]): DefinitionFlags {
  const command = withChangeOptions(new Command("update")).exitOverride();
  command.configureOutput({ writeErr: () => undefined });
  command.parse(args, { from: "user" });
  return command.opts<DefinitionFlags>();
}

const present: StreamDefinition = {
  name: "raw",
  maxSize: 1_048_576,
  streamSegmentSize: 65_536,
  timeToLiveMillis: 60_000,
  strategyOnFull: 1,
  persistence: 0,
  flushOnWrite: true,
  exportDefinition: {
    ...emptyExportDefinition,
    http: [{ identifier: "web", uri: "http://x" }],
    kinesis: [{ identifier: "mine", kinesisStreamName: "a", batchSize: 7 }],
  },
};

/** What is left out is no key. */
function withoutTimeToLive(): Omit<StreamDefinition, "timeToLiveMillis"> {
  return Object.fromEntries(
    Object.entries(present).filter(([key]) => key !== "timeToLiveMillis"),
  ) as unknown as Omit<StreamDefinition, "timeToLiveMillis">;
}

function fileOf(t: TestContext, text: string): string {
  const directory = mkdtempSync(path.join(tmpdir(), "millrace-"));
  t.after(() => rmSync(directory, { recursive: true }));
  const file = path.join(directory, "definition.json");
  writeFileSync(file, text);
  return file;
}

describe("buildStream", () => {
  it("leaves what is not given to the engine, but the strategy, which the protocol wants", () => {
    assert.deepEqual(build(), { name: "raw", strategyOnFull: 0 });
  });

  it("sets every field by its option", () => {
    const args =
      "--max-size 1048576 --segment-size 65536 --ttl 60000 --strategy overwrite --persistence memory --flush-on-write";
    assert.deepEqual(build(...args.split(" ")), {
      name: "raw",
      strategyOnFull: 1,
      maxSize: 1_048_576,
      streamSegmentSize: 65_536,
      timeToLiveMillis: 60_000,
      persistence: 1,
      flushOnWrite: true,
    });
  });

  it("makes an exporter for each Kinesis stream", () => {
    const args = [
      "--kinesis",
      "a",
      "--kinesis",
      "b",
      "--priority",
      "1",
      "--batch-size",
      "500",
      "--batch-interval",
      "60000",
    ];
    const common = { priority: 1, batchSize: 500, batchIntervalMillis: 60_000 };
    assert.deepEqual(build(...args).exportDefinition, {
      kinesis: [
        { identifier: "kinesis-a", kinesisStreamName: "a", ...common },
        { identifier: "kinesis-b", kinesisStreamName: "b", ...common },
      ],
    });
  });

  it("takes a definition as JSON, the options over it and the exporters beside its own", (t) => {
    const given = {
      name: "other",
      maxSize: 1,
      exportDefinition: { http: [], kinesis: [{ identifier: "x" }] },
    };
    const file = fileOf(t, JSON.stringify(given));
    assert.deepEqual(build("--definition", file, "--max-size", "2", "--kinesis", "a"), {
      name: "raw",
      strategyOnFull: 0,
      maxSize: 2,
      exportDefinition: {
        http: [],
        kinesis: [{ identifier: "x" }, { identifier: "kinesis-a", kinesisStreamName: "a" }],
      },
    });
  });

  it("refuses what does not go together and what cannot be read", (t) => {
    assert.throws(() => build("--priority", "1"), UsageError);
    assert.throws(() => build("--definition", "/nowhere.json"), UsageError);
    assert.throws(() => build("--definition", fileOf(t, "[]")), /not a JSON object/);
    assert.throws(() => build("--max-size", "1k"), { code: "commander.invalidArgument" });
    assert.throws(() => build("--strategy", "drop"), { code: "commander.invalidArgument" });
  });
});

describe("changeStream", () => {
  it("lets a segment size that nobody names follow a smaller maxSize", () => {
    const { maxSize, streamSegmentSize } = change("--max-size", "20000");
    assert.deepEqual([maxSize, streamSegmentSize], [20_000, 20_000]);
    assert.equal(change("--max-size", "2000000").streamSegmentSize, 65_536);
    // One that is named is the engine's to refuse.
    const named = change("--max-size", "20000", "--segment-size", "30000");
    assert.equal(named.streamSegmentSize, 30_000);
  });

  const change = (...args: string[]) =>
    changeStream({ definition: present, options: { freeExported: false } }, flagsOf(...args)).definition;

  it("keeps what no option names", () => {
    assert.deepEqual(change(), present);
    assert.deepEqual(change("--max-size", "2097152"), { ...present, maxSize: 2_097_152 });
  });

  it("takes back what an option said", () => {
    const without = withoutTimeToLive();
    assert.deepEqual(change("--ttl", "none", "--no-flush-on-write"), { ...without, flushOnWrite: false });
    assert.deepEqual(change("--ttl", "90000"), { ...present, timeToLiveMillis: 90_000 });
  });

  it("changes the exporter of a Kinesis stream under the identifier that it has, and adds others", () => {
    const { exportDefinition } = change(
      "--kinesis",
      "a",
      "--kinesis",
      "b",
      "--disabled",
      "--start-sequence",
      "0",
    );
    assert.deepEqual(exportDefinition, {
      ...present.exportDefinition,
      kinesis: [
        { identifier: "mine", kinesisStreamName: "a", batchSize: 7, disabled: true, startSequenceNumber: 0 },
        { identifier: "kinesis-b", kinesisStreamName: "b", disabled: true, startSequenceNumber: 0 },
      ],
    });
    const resumed = change("--kinesis", "a", "--no-disabled").exportDefinition;
    assert.deepEqual(resumed?.kinesis?.[0]?.disabled, false);
  });

  it("removes exporters of any kind by their identifiers, and refuses one that is not there", () => {
    const { exportDefinition } = change("--remove-exporter", "web", "--remove-exporter", "mine");
    assert.deepEqual(exportDefinition, emptyExportDefinition);
    assert.throws(() => change("--remove-exporter", "other"), UsageError);
  });

  it("puts a definition as JSON over the present one", (t) => {
    const file = fileOf(t, JSON.stringify({ maxSize: 5, timeToLiveMillis: null, exportDefinition: {} }));
    const without = withoutTimeToLive();
    assert.deepEqual(change("--definition", file), {
      ...without,
      maxSize: 5,
      streamSegmentSize: 5,
      exportDefinition: {},
    });
  });
});

describe("the options of ours", () => {
  const named = (...args: string[]) =>
    changeStream({ definition: present, options: { freeExported: false } }, flagsOf(...args)).options;

  it("are those that a flag names, either way, and none otherwise", () => {
    assert.equal(named(), undefined);
    assert.equal(named("--max-size", "20000"), undefined);
    assert.deepEqual(named("--free-exported"), { freeExported: true });
    assert.deepEqual(named("--no-free-exported"), { freeExported: false });
  });
});
