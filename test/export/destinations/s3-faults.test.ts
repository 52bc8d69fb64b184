import assert from "node:assert/strict";
import { test } from "node:test";
import { S3_DENIALS_MAX } from "../../../src/core/service-limits.ts";
import { StatusLevel } from "../../../src/core/stream-definition.ts";
import { partBytesFor } from "../../../src/export/destinations/s3-parts.ts";
import { fileStorage } from "../../../src/log/file-storage.ts";
import type { Storage } from "../../../src/log/storage.ts";
import { contentOf, MIB, S3Bench, s3Settings } from "../../support/s3-bench.ts";
import type { S3Answer } from "../../support/test-s3-server.ts";

const timeout = 60_000;

async function setUp(t: Parameters<typeof S3Bench.start>[0], sizeBytes = 10) {
  const bench = await S3Bench.start(t);
  const task = { inputUrl: bench.file("a", contentOf(sizeBytes)), bucket: "bucket", key: "k" };
  return { bench, task };
}

test("S3Destination waits for what is temporary, for ever, and goes on", { timeout }, async (t) => {
  const { bench, task } = await setUp(t);
  const cases: [S3Answer, object][] = [
    [
      { kind: "error", status: 503, code: "SlowDown" },
      { scope: "exporter", pace: "backoff" },
    ],
    [
      { kind: "error", status: 500, code: "InternalError" },
      { scope: "endpoint", pace: "backoff" },
    ],
    [
      { kind: "error", status: 400, code: "RequestTimeout" },
      { scope: "endpoint", timedOut: true },
    ],
    [
      { kind: "error", status: 400 },
      { scope: "endpoint", pace: "backoff" },
    ],
    [
      { kind: "error", status: 404 },
      { scope: "endpoint", pace: "backoff" },
    ],
    [
      { kind: "error", status: 400, code: "ExpiredToken" },
      { scope: "endpoint", pace: "slow" },
    ],
    [
      { kind: "error", status: 403, code: "RequestTimeTooSkewed" },
      { scope: "endpoint", pace: "slow" },
    ],
    [
      { kind: "error", status: 400, code: "BadDigest" },
      { scope: "exporter", pace: "backoff" },
    ],
    [{ kind: "drop" }, { scope: "endpoint", pace: "backoff" }],
    [{ kind: "endless" }, { kind: "failed" }],
  ];
  for (const [answer, expected] of cases) {
    bench.server.answer = () => answer;
    const outcome = await bench.run(task);
    const told = JSON.stringify([answer, outcome]);
    assert.equal(outcome.kind, "failed", told);
    assert.deepEqual({ ...outcome, ...expected }, outcome, told);
  }
  await bench.server.close();
  const down = await bench.run(task);
  assert.ok(down.kind === "failed" && down.scope === "endpoint" && /ECONNREFUSED/.test(down.error));
  await bench.server.listen();
  bench.server.answer = () => undefined;
  assert.equal((await bench.run(task)).kind, "answered");
  assert.deepEqual(bench.statuses, ["InProgress", "Success"]);
});

test("S3Destination fails a task to a bucket that goes on to deny access", { timeout }, async (t) => {
  const { bench, task } = await setUp(t, 6 * MIB);
  bench.server.answer = () => ({ kind: "error", status: 403, code: "AccessDenied" });
  for (let tries = 1; tries < S3_DENIALS_MAX; tries += 1) {
    const outcome = await bench.run(task);
    assert.ok(outcome.kind === "failed" && outcome.scope === "exporter" && outcome.pace === "slow");
  }
  assert.deepEqual(bench.statuses, ["Warning"]);
  const outcome = await bench.run(task);
  assert.ok(outcome.kind === "answered" && outcome.refused?.length === 1);
  assert.deepEqual(bench.statuses, ["Warning", "Failure"]);
  assert.match(bench.told[1]!.message, /AccessDenied/);
});

test("S3Destination follows a bucket to its region, once", { timeout }, async (t) => {
  const { bench, task } = await setUp(t, 6 * MIB);
  const regionOf = (authorization = ""): string =>
    /Credential=[^/]+\/\d+\/([^/]+)\//.exec(authorization)?.[1] ?? "";
  const headers = { "x-amz-bucket-region": "eu-west-3" };
  const redirect = { kind: "error", status: 301, code: "PermanentRedirect", headers } as const;
  bench.server.answer = (request) =>
    regionOf(request.headers.authorization) === "eu-west-3" ? undefined : redirect;
  assert.equal((await bench.run(task)).kind, "answered");
  assert.deepEqual(bench.server.log, ["begin", "begin", "part 1", "part 2", "complete"]);
  bench.server.answer = () => redirect;
  const outcome = await bench.run(task, { sequence: 1 });
  assert.ok(outcome.kind === "answered" && outcome.refused?.length === 1);
});

test(
  "S3Destination that wrote a task down tells of no cancellation once it is uploaded",
  { timeout },
  async (t) => {
    const { bench, task } = await setUp(t);
    bench.settings = { ...s3Settings, statusLevel: StatusLevel.WARN };
    let refusals = 0;
    const headers = { "x-amz-bucket-region": "eu-west-3" };
    const redirect = { kind: "error", status: 301, code: "PermanentRedirect", headers } as const;
    bench.server.answer = () => (refusals++ === 0 ? redirect : undefined);
    assert.equal((await bench.run(task)).kind, "answered");
    assert.equal((await bench.run(task, { sequence: 1 })).kind, "answered");
    bench.server.answer = () => ({ kind: "error", status: 403, code: "AccessDenied" });
    assert.equal((await bench.run(task, { sequence: 2 })).kind, "failed");
    bench.server.answer = () => undefined;
    assert.equal((await bench.run(task, { sequence: 2 })).kind, "answered");
    await bench.cancel();
    assert.equal((await bench.run(task, { sequence: 3 })).kind, "answered");
    assert.deepEqual(bench.statuses, ["Warning"], "of the denial, and of nothing else");
  },
);

test(
  "S3Destination tells what the level lets through, and nothing where nobody asked",
  { timeout },
  async (t) => {
    const { bench, task } = await setUp(t);
    const statusesAt = async (settings: typeof bench.settings, sequence: number): Promise<string[]> => {
      bench.told.length = 0;
      bench.settings = settings;
      await bench.run(task, { sequence });
      await bench.run("no task", { sequence: sequence + 1 });
      return bench.statuses;
    };
    const at = (statusLevel: StatusLevel): typeof bench.settings => ({ ...s3Settings, statusLevel });
    assert.deepEqual(await statusesAt(at(StatusLevel.ERROR), 0), ["Failure"]);
    assert.deepEqual(await statusesAt(at(StatusLevel.WARN), 2), ["Failure"]);
    assert.deepEqual(await statusesAt(at(StatusLevel.INFO), 4), ["InProgress", "Success", "Failure"]);
    assert.deepEqual(await statusesAt({ ...s3Settings, statusStreamName: undefined }, 6), []);
    assert.equal(bench.server.log.length, 4);
    // With nobody to tell, one step is all.
    assert.equal((await bench.step(task, { sequence: 8 })).kind, "answered");
  },
);

test(
  "S3Destination tells a final status again that nobody may have stored, and uploads once",
  { timeout },
  async (t) => {
    const { bench, task } = await setUp(t);
    await bench.step(task);
    const done = await bench.step(task);
    assert.ok(done.kind === "progress" && done.continuation !== undefined);
    // The process dies before the status is appended.
    await bench.restart();
    assert.equal((await bench.run(task)).kind, "answered");
    assert.deepEqual(bench.statuses, ["InProgress", "Success", "Success"]);
    assert.deepEqual(bench.server.log, ["put"]);
  },
);

test(
  "S3Destination cancels a task that is gone from its stream, and removes its parts",
  { timeout },
  async (t) => {
    const { bench, task } = await setUp(t, 11 * MIB);
    for (let step = 0; step < 2; step += 1) await bench.step(task);
    assert.equal(bench.server.openUploadCount, 1);
    assert.equal((await bench.run({ ...task, key: "next" }, { sequence: 3, position: 0 })).kind, "answered");
    assert.deepEqual(bench.statuses, ["InProgress", "Canceled", "InProgress", "Success"]);
    assert.deepEqual(
      bench.told.map(({ statusContext }) => statusContext.sequenceNumber),
      [0, 0, 3, 3],
    );
    assert.equal(bench.server.openUploadCount, 0);
    assert.equal(await bench.server.object("bucket", "k"), undefined);
  },
);

test(
  "S3Destination cancels what its exporter has under way; parts that stay are told of",
  { timeout },
  async (t) => {
    const { bench, task } = await setUp(t, 11 * MIB);
    for (let step = 0; step < 2; step += 1) await bench.step(task);
    bench.server.answer = () => ({ kind: "error", status: 403, code: "AccessDenied" });
    await bench.cancel();
    assert.deepEqual(bench.statuses, ["InProgress", "Warning", "Canceled"]);
    assert.match(
      bench.told[1]!.message,
      /the parts of upload [0-9a-f]+ of k stay in bucket bucket: AccessDenied/,
    );
  },
);

test(
  "S3Destination that cannot write down an upload leaves no parts behind, and tries again",
  { timeout },
  async (t) => {
    let isFull = true;
    const storage: Storage = {
      ...fileStorage,
      open(filePath, mode) {
        if (isFull && mode === "create")
          throw Object.assign(new Error("ENOSPC: no space"), { code: "ENOSPC" });
        return fileStorage.open(filePath, mode);
      },
    };
    const bench = await S3Bench.start(t, { storage });
    const task = { inputUrl: bench.file("a", contentOf(6 * MIB)), bucket: "bucket", key: "k" };
    const outcome = await bench.run(task);
    assert.ok(outcome.kind === "failed" && outcome.scope === "exporter");
    assert.match(outcome.error, /cannot keep the state of the upload: ENOSPC/);
    assert.deepEqual(bench.server.log, ["begin", "abort"]);
    isFull = false;
    assert.equal((await bench.run(task)).kind, "answered");
  },
);

test("partBytesFor keeps to 10,000 parts, and to the least size where it can", () => {
  assert.equal(partBytesFor(6 * MIB, 5 * MIB), 5 * MIB);
  assert.equal(partBytesFor(50_000 * MIB, 5 * MIB), 5 * MIB);
  assert.equal(partBytesFor(50_000 * MIB + 1, 5 * MIB), 6 * MIB);
  const sizeBytes = 5 * 1024 ** 4;
  assert.ok(Math.ceil(sizeBytes / partBytesFor(sizeBytes, 8 * MIB)) <= 10_000);
});
