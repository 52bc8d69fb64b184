import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import path from "node:path";
import { describe, it, test } from "node:test";
import type { StreamDescription } from "../../src/core/stream-description.ts";
import { EngineProcess, temporaryDirectory } from "../support/engine-process.ts";
import { runProgram } from "../support/program.ts";

const program = path.join(import.meta.dirname, "..", "..", "src", "millrace.js");

interface JsonMessage {
  readonly sequence: number;
  readonly ingestTime: number;
  readonly payload: string;
}

function jsonLines(text: string): JsonMessage[] {
  return text
    .split("\n")
    .slice(0, -1)
    .map((line) => JSON.parse(line) as JsonMessage);
}

/** One engine serves these cases, each with a stream of its own. */
test("the commands, with an engine that runs,", async (t) => {
  const engine = await EngineProcess.start(t);

  await t.test("append lines and read them back byte for byte", async () => {
    await engine.run(["streams", "create", "lines"]);
    const lines = Array.from({ length: 5000 }, (_, index) => `{"reading":${index},"unit":"\u00b0C"}\r`);
    const input = Buffer.from(`${lines.join("\n")}\n\n\0\xff`, "latin1");
    const appended = await engine.run(["append", "lines"], input);
    assert.equal(appended.stderr, "");
    assert.match(appended.stdout, /^appended 5001 messages, \d+ bytes, to lines\n$/);
    const read = await engine.run(["read", "lines"]);
    assert.equal(read.stdout, `${lines.join("\n")}\n\0\xff\n`);
    assert.deepEqual([read.code, read.stderr], [0, ""]);
  });

  await t.test("append many lines to a stream far smaller than they are", async () => {
    await engine.run(["streams", "create", "tiny", "--max-size", "4096", "--strategy", "overwrite"]);
    const lines = Array.from({ length: 3000 }, (_, index) => String(index));
    const appended = await engine.run(["append", "tiny"], lines.join("\n"));
    assert.deepEqual([appended.code, appended.stderr], [0, ""]);
    const { stdout } = await engine.run(["read", "tiny", "--from", "2990"]);
    assert.equal(stdout, `${lines.slice(2990).join("\n")}\n`);
  });

  await t.test("read from a number, so many, and as JSON", async () => {
    await engine.run(["streams", "create", "numbered"]);
    const before = Date.now();
    await engine.run(["append", "numbered", "--json"], "a\nb\nc\nd\n");
    const { stdout } = await engine.run(["read", "numbered", "--from", "1", "--max", "2", "--json"]);
    const messages = jsonLines(stdout);
    assert.deepEqual(
      messages.map(({ sequence, payload }) => [sequence, Buffer.from(payload, "base64").toString()]),
      [
        [1, "b"],
        [2, "c"],
      ],
    );
    for (const { ingestTime } of messages) assert.ok(ingestTime >= before - 1 && ingestTime <= Date.now());
    assert.equal((await engine.run(["read", "numbered", "--from", "9"])).stdout, "");
  });

  await t.test("follow a stream as it grows", async () => {
    await engine.run(["streams", "create", "followed"]);
    await engine.run(["append", "followed"], "first\n");
    const follower = engine.launch(["read", "followed", "--follow", "--max", "3"]);
    await follower.line("stdout", /^first$/);
    await engine.run(["append", "followed"], "second\nthird\n");
    const { code, stdout } = await follower.finished();
    assert.deepEqual([code, stdout], [0, "first\nsecond\nthird\n"]);
  });

  await t.test("create with every option, change some, and tell all of it", async () => {
    const create =
      "--max-size 33554432 --segment-size 1048576 --ttl 3600000 --strategy overwrite --kinesis k";
    const created = await engine.run([
      "streams",
      "create",
      "changed",
      "--free-exported",
      "--flush-on-write",
      "--disabled",
      ...create.split(" "),
    ]);
    assert.deepEqual([created.code, created.stdout, created.stderr], [0, "created changed\n", ""]);
    await engine.run(["append", "changed"], "a\nb\n");
    const update =
      "--ttl none --no-flush-on-write --kinesis k --priority 2 --kinesis other --no-free-exported";
    const updated = await engine.run(["streams", "update", "changed", ...update.split(" ")]);
    assert.deepEqual([updated.code, updated.stdout, updated.stderr], [0, "updated changed\n", ""]);
    const { stdout } = await engine.run(["streams", "describe", "changed", "--json"]);
    const { definition, options, ledger } = JSON.parse(stdout) as StreamDescription;
    const { exportDefinition, ...fields } = definition;
    assert.deepEqual(fields, {
      name: "changed",
      maxSize: 33_554_432,
      streamSegmentSize: 1_048_576,
      strategyOnFull: 1,
      persistence: 0,
      flushOnWrite: false,
    });
    assert.deepEqual(
      exportDefinition.kinesis.map(({ identifier, priority, disabled }) => [identifier, priority, disabled]),
      [
        ["kinesis-k", 2, true],
        ["kinesis-other", 2, false],
      ],
    );
    assert.deepEqual([options.freeExported, ledger.stored.messages], [false, 2]);
    const text = await engine.run(["streams", "describe", "changed"]);
    assert.match(text.stdout, /^account +stream +bytes +kinesis-k +bytes +kinesis-other +bytes$/m);
    assert.match(text.stdout, /^appended +2 +2 B +2 +2 B +2 +2 B$/m);
  });

  await t.test(
    "refuse an update that changes nothing, or what may not change, and leave the stream",
    async () => {
      await engine.run(["streams", "create", "fixed"]);
      const nothing = await engine.run(["streams", "update", "fixed"]);
      assert.deepEqual([nothing.code, nothing.stdout], [2, ""]);
      assert.match(nothing.stderr, /nothing to change/);
      const memory = await engine.run([
        "streams",
        "update",
        "fixed",
        "--persistence",
        "memory",
        "--free-exported",
      ]);
      assert.equal(memory.code, 1);
      assert.match(memory.stderr, /^millrace: [^\n]*persistence cannot change\n$/);
      const { stdout } = await engine.run(["streams", "describe", "fixed", "--json"]);
      assert.deepEqual((JSON.parse(stdout) as StreamDescription).options, { freeExported: false });
    },
  );

  await t.test("end quietly when nobody reads their output any more", async () => {
    await engine.run(["streams", "create", "piped"]);
    await engine.run(["append", "piped"], "0123456789\n".repeat(100_000));
    const reader = engine.launch(["read", "piped"]);
    await reader.line("stdout", /^0123456789$/);
    reader.child.stdout.destroy();
    const { code, stderr } = await reader.finished();
    assert.deepEqual([code, stderr], [0, ""]);
  });

  await t.test("fail with one line on standard error and 1", async () => {
    for (const args of [
      ["read", "gone"],
      ["streams", "describe", "gone"],
      ["streams", "delete", "gone"],
      ["streams", "update", "gone", "--flush-on-write"],
      ["append", "gone"],
    ]) {
      const { code, stdout, stderr } = await engine.run(args);
      assert.deepEqual([code, stdout], [1, ""], args.join(" "));
      assert.match(stderr, /^millrace: [^\n]*gone[^\n]*\n$/);
    }
  });
});

describe("the commands", () => {
  it("create, list, describe and delete streams, across a restart", async (t) => {
    const engine = await EngineProcess.start(t);
    const created = await engine.run([
      "streams",
      "create",
      "raw",
      "--flush-on-write",
      "--max-size",
      "33554432",
    ]);
    assert.deepEqual([created.code, created.stdout, created.stderr], [0, "created raw\n", ""]);
    assert.equal((await engine.stop()).code, 0);

    const again = await EngineProcess.start(t, { storeDirectory: engine.storeDirectory });
    const { stdout } = await again.run(["streams", "list"]);
    assert.match(stdout, /^name +messages +size +persistence +exporters +state\nraw +0 +0 B +File +0 +ok\n$/);
    const described = await again.run(["streams", "describe", "raw", "--json"]);
    const info = JSON.parse(described.stdout) as StreamDescription;
    assert.equal(info.definition.flushOnWrite, true);
    assert.equal(info.definition.maxSize, 33_554_432);
    assert.equal((await again.run(["streams", "delete", "raw"])).stdout, "deleted raw\n");
    assert.equal((await again.run(["streams", "list", "--json"])).stdout, "[]\n");
  });

  it("fail with 1 without the token, and without an engine", async (t) => {
    const engine = await EngineProcess.start(t);
    const env = { ...engine.env, AWS_CONTAINER_AUTHORIZATION_TOKEN: "x".repeat(43) };
    const refused = await runProgram(t, [program, "streams", "list"], { env });
    assert.equal(refused.code, 1);
    assert.match(refused.stderr, /^millrace: [^\n]+ the token was refused [^\n]+\n$/);
    await engine.stop();
    const { code, stderr } = await engine.run(["streams", "list"]);
    assert.equal(code, 1);
    assert.match(stderr, /^millrace: [^\n]*127\.0\.0\.1[^\n]*\n$/);
  });

  it("fail with 2 for a wrong command line", async (t) => {
    for (const args of [
      ["read"],
      ["read", "a", "--from", "x"],
      ["nonsense"],
      [],
      ["read", "a", "--url", "http://a"],
    ]) {
      const { code, stdout, stderr } = await runProgram(t, [program, ...args], { env: {} });
      assert.deepEqual([code, stdout], [2, ""], args.join(" "));
      assert.notEqual(stderr, "");
    }
  });
});

describe("millrace serve", () => {
  it("cannot start twice in a store, nor on a taken port, and says so in one line", async (t) => {
    const engine = await EngineProcess.start(t);
    const twice = await runProgram(t, [program, "serve", "--port", "0"], { env: engine.env });
    assert.equal(twice.code, 1);
    assert.match(twice.stderr, /^millrace: [^\n]*store[^\n]*\n$/);
    const other = path.join(engine.storeDirectory, "other");
    const taken = await runProgram(t, [program, "serve", "--store-directory", other], { env: engine.env });
    assert.equal(taken.code, 1);
    assert.match(taken.stderr, new RegExp(`^millrace: [^\\n]*${engine.port}[^\\n]*\\n$`));
  });

  it("cannot start where the store is no directory", async (t) => {
    const directory = temporaryDirectory(t);
    const store = path.join(directory, "file");
    writeFileSync(store, "");
    const { code, stderr } = await runProgram(t, [program, "serve", "--store-directory", store], {
      env: { LOG_LEVEL: "warn" },
    });
    assert.equal(code, 1);
    assert.match(stderr, /^millrace: [^\n]+\n$/);
  });
});
