import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { describe, it, type TestContext } from "node:test";
import { Command } from "commander";
import { UsageError } from "../../src/cli/command-context.ts";
import {
  buildDefinition,
  withDefinitionOptions,
  type DefinitionFlags,
} from "../../src/cli/definition-options.ts";

function build(...args: string[]) {
  const command = withDefinitionOptions(new Command("create")).exitOverride();
  command.configureOutput({ writeErr: () => undefined });
  command.parse(args, { from: "user" });
  return buildDefinition("raw", command.opts<DefinitionFlags>());
}

function fileOf(t: TestContext, text: string): string {
  const directory = mkdtempSync(path.join(tmpdir(), "millrace-"));
  t.after(() => rmSync(directory, { recursive: true }));
  const file = path.join(directory, "definition.json");
  writeFileSync(file, text);
  return file;
}

describe("buildDefinition", () => {
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
