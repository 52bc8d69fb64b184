import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";
import { contentOf, MIB, S3Bench } from "../../support/s3-bench.ts";

const timeout = 60_000;

test(
  "S3Destination uploads a small file by one PUT, with metadata, and tells of it",
  { timeout },
  async (t) => {
    const bench = await S3Bench.start(t);
    const content = contentOf(5 * MIB);
    const task = {
      inputUrl: bench.file("a.bin", content),
      bucket: "bucket",
      key: "k/a.bin",
      userMetadata: { site: "plant 4" },
    };
    assert.equal((await bench.run(task)).kind, "answered");
    const stored = await bench.server.object("bucket", "k/a.bin");
    assert.ok(stored !== undefined && stored.body.equals(content));
    assert.equal(stored.headers.get("x-amz-meta-site"), "plant 4");
    assert.deepEqual(bench.server.log, ["put"]);
    assert.deepEqual(bench.statuses, ["InProgress", "Success"]);
    const [first] = bench.told;
    assert.deepEqual(first?.statusContext, {
      s3ExportTaskDefinition: task,
      exportIdentifier: "uploads",
      streamName: "tasks",
      sequenceNumber: 0,
    });
    assert.equal(first.eventType, 0);
  },
);

test("S3Destination uploads a file over the threshold in parts, one a step", { timeout }, async (t) => {
  const bench = await S3Bench.start(t);
  const content = contentOf(12 * MIB + 3);
  const task = { inputUrl: bench.file("a.bin", content), bucket: "bucket", key: "big" };
  const kinds: string[] = [];
  for (;;) {
    const outcome = await bench.step(task);
    kinds.push(outcome.kind === "progress" ? String(outcome.sentBytes) : outcome.kind);
    if (outcome.kind !== "progress") break;
  }
  assert.deepEqual(bench.server.log, ["begin", "part 1", "part 2", "part 3", "complete"]);
  assert.deepEqual(kinds, ["0", String(5 * MIB), String(5 * MIB), String(2 * MIB + 3), "0", "answered"]);
  assert.ok((await bench.server.object("bucket", "big"))?.body.equals(content));
  assert.equal(bench.server.openUploadCount, 0);
  assert.deepEqual(bench.statuses, ["InProgress", "Success"]);
});

test("S3Destination uploads an empty file, and one whose name needs escapes", { timeout }, async (t) => {
  const bench = await S3Bench.start(t);
  await bench.run({ inputUrl: bench.file("leer é#?%.txt", ""), bucket: "bucket", key: "empty" });
  assert.equal((await bench.server.object("bucket", "empty"))?.body.length, 0);
});

test("S3Destination that was restarted sends no part again", { timeout }, async (t) => {
  const bench = await S3Bench.start(t);
  const content = contentOf(17 * MIB);
  const task = {
    inputUrl: bench.file("a", content),
    bucket: "bucket",
    key: "!{timestamp:yyyy/MM/dd}/!{timestamp:N}",
  };
  for (let step = 0; step < 3; step += 1) await bench.step(task);
  assert.deepEqual(bench.server.log, ["begin", "part 1", "part 2"]);
  await bench.restart();
  assert.equal((await bench.run(task)).kind, "answered");
  assert.deepEqual(bench.server.log.slice(3), ["list", "part 3", "part 4", "complete"]);
  const [{ key } = { key: "" }] = bench.server.requests;
  assert.match(key, /^\d{4}\/\d\d\/\d\d\/\d+$/);
  assert.ok(bench.server.requests.every((request) => request.key === key));
  assert.ok((await bench.server.object("bucket", key))?.body.equals(content));
  assert.deepEqual(bench.statuses, ["InProgress", "Success"]);
});

test("S3Destination finds a part whose answer was lost, where it may look", { timeout }, async (t) => {
  const bench = await S3Bench.start(t);
  const content = contentOf(11 * MIB);
  const task = { inputUrl: bench.file("a", content), bucket: "bucket", key: "k" };
  let mayList = true;
  let drops = 2;
  bench.server.answer = ({ kind, partNumber }) => {
    if (kind === "list" && !mayList) return { kind: "error", status: 403, code: "AccessDenied" };
    return kind === "part" && partNumber >= 2 && drops-- > 0 ? { kind: "drop" } : undefined;
  };
  const lost = await bench.run(task);
  assert.ok(lost.kind === "failed" && lost.scope === "endpoint" && lost.pace === "backoff");
  const found = await bench.run(task);
  assert.ok(found.kind === "failed");
  mayList = false;
  assert.equal((await bench.run(task)).kind, "answered");
  assert.deepEqual(bench.server.log, [
    ...["begin", "part 1", "part 2"],
    ...["list", "part 3"],
    ...["list", "part 3", "complete"],
  ]);
  assert.ok((await bench.server.object("bucket", "k"))?.body.equals(content));
});

test(
  "S3Destination looks for a lost part whatever it knows of another exporter's task",
  { timeout },
  async (t) => {
    const bench = await S3Bench.start(t);
    const task = { inputUrl: bench.file("a", contentOf(11 * MIB)), bucket: "bucket", key: "k" };
    let drops = 1;
    bench.server.answer = ({ kind, partNumber }) =>
      kind === "part" && partNumber === 2 && drops-- > 0 ? { kind: "drop" } : undefined;
    assert.equal((await bench.run(task)).kind, "failed");
    await bench.step({ ...task, key: "other" }, { exporterId: "ab".repeat(16) });
    assert.equal((await bench.run(task)).kind, "answered");
    assert.deepEqual(bench.server.log, [
      ...["begin", "part 1", "part 2"],
      "begin",
      ...["list", "part 3", "complete"],
    ]);
  },
);

test(
  "S3Destination begins again with a file that has changed, and gives up on one that goes on to",
  { timeout },
  async (t) => {
    const bench = await S3Bench.start(t);
    const task = { inputUrl: bench.file("a", contentOf(11 * MIB)), bucket: "bucket", key: "k" };
    for (let step = 0; step < 2; step += 1) await bench.step(task);
    const content = contentOf(11 * MIB, 2);
    bench.file("a", content);
    const changed = await bench.step(task);
    assert.ok(changed.kind === "failed" && changed.scope === "exporter");
    assert.equal((await bench.run(task)).kind, "answered");
    assert.deepEqual(bench.statuses, ["InProgress", "Warning", "Success"]);
    assert.match(bench.told[1]!.message, /files\/a has changed: the upload begins again/);
    assert.ok((await bench.server.object("bucket", "k"))?.body.equals(content));
    assert.equal(bench.server.openUploadCount, 0);

    bench.told.length = 0;
    for (let seed = 3; !bench.statuses.includes("Failure"); seed += 1) {
      assert.ok(seed < 60, bench.statuses.join());
      bench.file("a", contentOf(11 * MIB, seed));
      await bench.step(task, { sequence: 1 });
    }
    assert.match(bench.told.at(-1)!.message, /has changed; given up after 6 tries/);
    assert.equal(bench.server.openUploadCount, 0);
  },
);

test("S3Destination begins an upload again that S3 does not know any more", { timeout }, async (t) => {
  const bench = await S3Bench.start(t);
  const content = contentOf(6 * MIB);
  const task = { inputUrl: bench.file("a", content), bucket: "bucket", key: "k" };
  for (let step = 0; step < 2; step += 1) await bench.step(task);
  bench.server.forgetUploads();
  const lost = await bench.run(task);
  assert.ok(lost.kind === "failed" && lost.scope === "exporter" && /NoSuchUpload/.test(lost.error));
  assert.equal((await bench.run(task)).kind, "answered");
  assert.deepEqual(bench.server.log, ["begin", "part 1", "part 2", "begin", "part 1", "part 2", "complete"]);
  assert.ok((await bench.server.object("bucket", "k"))?.body.equals(content));
});

test(
  "S3Destination does not upload again what was put together by a request without an answer",
  { timeout },
  async (t) => {
    const bench = await S3Bench.start(t);
    const content = contentOf(6 * MIB);
    const task = { inputUrl: bench.file("a", content), bucket: "bucket", key: "k" };
    const digests = [content.subarray(0, 5 * MIB), content.subarray(5 * MIB)].map((part) =>
      createHash("md5").update(part).digest(),
    );
    // What S3 calls the object; s3rver calls it otherwise.
    const etag = `"${createHash("md5").update(Buffer.concat(digests)).digest("hex")}-2"`;
    let isDropped = false;
    bench.server.answer = ({ kind }) => {
      if (kind === "head") return { kind: "error", status: 200, headers: { etag } };
      if (kind !== "complete" || isDropped) return undefined;
      isDropped = true;
      return { kind: "drop" };
    };
    assert.equal((await bench.run(task)).kind, "failed");
    assert.equal((await bench.run(task)).kind, "answered");
    assert.deepEqual(bench.server.log, ["begin", "part 1", "part 2", "complete", "complete", "head"]);
    assert.deepEqual(bench.statuses, ["InProgress", "Success"]);
  },
);

test(
  "S3Destination fails a task that cannot be done, tells why, and lets the next one go",
  { timeout },
  async (t) => {
    const bench = await S3Bench.start(t);
    const inputUrl = bench.file("a", "x");
    const cases: [unknown, RegExp][] = [
      ["no JSON", /no JSON in UTF-8/],
      [{ inputUrl, bucket: "bucket", key: "a b" }, /contains " "/],
      [{ inputUrl, bucket: "Bucket", key: "k" }, /bucket's name "Bucket"/],
      [{ inputUrl, bucket: "bucket", key: "!{timestamp:cc}" }, /"cc" in the key's placeholder/],
      [{ inputUrl, bucket: "nobody", key: "k" }, /NoSuchBucket/],
      [{ inputUrl: `${inputUrl}-none`, bucket: "bucket", key: "k" }, /there is no such file/],
      [{ inputUrl: "file:///etc/hostname", bucket: "bucket", key: "k" }, /STREAM_MANAGER_READ_ONLY_DIRS/],
      [{ inputUrl, bucket: "bucket", key: "k", userMetadata: { "$aws-gg-x": "y" } }, /is reserved/],
    ];
    for (const [sequence, [task, reason]] of cases.entries()) {
      const outcome = await bench.run(task, { sequence });
      assert.ok(outcome.kind === "answered" && outcome.refused?.[0]?.isMalformed === true, String(reason));
      assert.match(outcome.error, reason);
      assert.equal(bench.statuses.at(-1), "Failure");
      assert.match(bench.told.at(-1)!.message, reason);
      assert.equal(bench.told.at(-1)!.statusContext.sequenceNumber, sequence);
    }
    const outcome = await bench.run({ inputUrl, bucket: "bucket", key: "k" }, { sequence: cases.length });
    assert.ok(outcome.kind === "answered" && outcome.refused === undefined);
  },
);
