import assert from "node:assert/strict";
import {
  chmodSync,
  closeSync,
  linkSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  truncateSync,
  unlinkSync,
  writeFileSync,
} from "node:fs";
import { open } from "node:fs/promises";
import path from "node:path";
import { test } from "node:test";
import { gunzipSync } from "node:zlib";
import { temporaryDirectory } from "../../support/engine-process.ts";
import { FileBench, records } from "../../support/file-bench.ts";
import { onSmallDisk } from "../../support/test-disk.ts";

const NAME = /^readings-[0-9a-f]{8}-0{16}\.raw\.part$/;

test("FileDestination grows a .part file and gives it its name when it is full", async (t) => {
  const bench = new FileBench(t);
  await bench.accept(records(0, 3));
  assert.equal(bench.names.length, 1);
  const [part] = bench.names;
  assert.match(part!, NAME);
  assert.equal(bench.text(part!), "payload 0\npayload 1\npayload 2\n");
  await bench.accept(records(3, 100));
  await bench.accept(records(100, 102));
  const complete = part!.slice(0, -".part".length);
  assert.deepEqual(bench.names, [complete, part!.replace(/0{16}/, "0000000000000100")]);
  assert.equal(bench.text(complete).split("\n").length, 101);
  assert.equal(statSync(path.join(bench.directory, complete)).mode & 0o777, 0o640);
});

test("FileDestination writes JSON lines that say which message it is, and compresses whole batches", async (t) => {
  const bench = new FileBench(t, { format: "jsonLines", gzip: true });
  await bench.accept(records(7, 9));
  await bench.accept(records(9, 10));
  const [part] = bench.names;
  assert.match(part!, /-0000000000000007\.jsonl\.gz\.part$/);
  const lines = gunzipSync(readFileSync(path.join(bench.directory, part!)))
    .toString()
    .trimEnd()
    .split("\n");
  assert.deepEqual(
    lines.map((line) => JSON.parse(line) as unknown),
    records(7, 10).map(({ sequence, ingestTimeMs, data }) => ({
      streamName: "readings",
      sequenceNumber: sequence,
      ingestTime: ingestTimeMs,
      payload: Buffer.from(data).toString("base64"),
    })),
  );
});

test("FileDestination completes a file that is old before it writes the next batch", async (t) => {
  const bench = new FileBench(t, { rotateMs: 60_000 });
  await bench.accept(records(0, 1));
  bench.nowMs += 59_999;
  await bench.accept(records(1, 2));
  assert.equal(bench.names.length, 1);
  bench.nowMs += 1;
  await bench.accept(records(2, 3));
  assert.equal(bench.names.length, 2);
  assert.equal(bench.text(bench.names[0]!), "payload 0\npayload 1\n");
  assert.match(bench.names[1]!, /0002\.raw\.part$/);
});

test("FileDestination cuts off a torn batch of which nobody knows", async (t) => {
  const bench = new FileBench(t);
  await bench.accept(records(0, 2));
  const part = path.join(bench.directory, bench.names[0]!);
  writeFileSync(part, "payload 2\npayl", { flag: "a" });
  await bench.accept(records(2, 4));
  assert.equal(bench.text(bench.names[0]!), "payload 0\npayload 1\npayload 2\npayload 3\n");
});

test("FileDestination puts a batch that comes again in the place of the one that did not count", async (t) => {
  const bench = new FileBench(t);
  await bench.accept(records(0, 2));
  await bench.accept(records(2, 4));
  // The position was not written: the same messages come, and more with them.
  await bench.accept(records(2, 5));
  assert.equal(bench.text(bench.names[0]!), "payload 0\npayload 1\npayload 2\npayload 3\npayload 4\n");
  // Cut otherwise, it cannot be told from messages that are wanted twice: at least once.
  await bench.accept(records(2, 3));
  assert.ok(bench.text(bench.names[0]!).endsWith("payload 4\npayload 2\n"));
});

test("FileDestination appends other messages that have the numbers of the last batch", async (t) => {
  const bench = new FileBench(t);
  await bench.accept(records(0, 2, "first"));
  await bench.accept(records(0, 3, "second"));
  await bench.accept(records(0, 3, "second"));
  await bench.accept(records(3, 4));
  // As a redrive may send one, of a stream that had this name before.
  await bench.accept(records(3, 4, "redriven"));
  assert.equal(
    bench.text(bench.names[0]!),
    "first 0\nfirst 1\nsecond 0\nsecond 1\nsecond 2\npayload 3\nredriven 3\n",
  );
});

test("FileDestination never writes into what it has not made", async (t) => {
  const bench = new FileBench(t, { rotateBytes: 1 });
  await bench.accept(records(0, 1));
  const [complete] = bench.names;
  await bench.accept(records(0, 1, "other"));
  assert.equal(bench.names.length, 2);
  assert.equal(bench.text(complete!), "payload 0\n");
  // A file, and a link, where the next one would be.
  const next = complete!.replace(/0{16}/, "0000000000000001");
  const secret = path.join(bench.root, "secret");
  writeFileSync(secret, "mine");
  symlinkSync(secret, path.join(bench.directory, `${next}.part`));
  await bench.accept(records(1, 2));
  assert.equal(readFileSync(secret, "utf8"), "mine");
  assert.ok(bench.names.includes(next.replace(".raw", "-1.raw")), bench.names.join(" "));
});

test("FileDestination refuses directories that no setting allows, by whatever way they are reached", async (t) => {
  const bench = new FileBench(t);
  const outside = temporaryDirectory(t);
  symlinkSync(outside, path.join(bench.root, "link"));
  symlinkSync(bench.directory, path.join(outside, "back"));
  const refused = async (directory: string, allowed?: readonly string[]): Promise<void> => {
    bench.settings = { ...bench.settings, directory };
    const outcome = await bench.send(records(0, 1), allowed);
    assert.equal(outcome.kind, "failed");
    assert.equal(outcome.pace, "slow");
    assert.match(outcome.error, /MILLRACE_EXPORT_FILE_DIRS/);
  };
  await refused(bench.directory, []);
  await refused(path.join(bench.root, "link"));
  await refused(outside);
  await refused(`${bench.directory}/../../`);
  assert.deepEqual(readdirSync(outside), ["back"]);
  bench.settings = { ...bench.settings, directory: path.join(outside, "back") };
  await bench.accept(records(0, 1));
});

test("FileDestination leaves alone what somebody put in the place of its file, and waits for a person", async (t) => {
  const bench = new FileBench(t);
  await bench.accept(records(0, 1));
  const part = path.join(bench.directory, bench.names[0]!);
  const secret = path.join(bench.root, "secret");
  writeFileSync(secret, "mine");
  for (const put of [symlinkSync, linkSync]) {
    unlinkSync(part);
    put(secret, part);
    const outcome = await bench.send(records(1, 2));
    assert.ok(outcome.kind === "failed");
    assert.deepEqual([outcome.scope, outcome.pace], ["exporter", "slow"]);
    assert.match(outcome.error, /it is a link, or no file/);
    assert.match((await bench.tend({ isLast: true })).error, /it is a link, or no file/);
  }
  assert.equal(readFileSync(secret, "utf8"), "mine");
});

test("FileDestination takes names that begin with two dots for names", async (t) => {
  const bench = new FileBench(t);
  const directory = path.join(bench.root, "..out");
  mkdirSync(directory);
  bench.settings = { ...bench.settings, directory };
  await bench.accept(records(0, 1));
});

test("FileDestination that cannot close a file says what became of the batch, and does not reject", async (t) => {
  const bench = new FileBench(t);
  await bench.accept(records(0, 1));
  const probe = await open("/dev/null");
  const handle = Object.getPrototypeOf(probe) as typeof probe;
  await probe.close();
  const datasync = Reflect.get(handle, "datasync");
  let synced = 0;
  t.mock.method(handle, "datasync", async function (this: typeof probe) {
    await datasync.call(this);
    // Behind the messages what is known of them: its descriptor is gone when it is to be closed.
    if ((synced += 1) === 2) closeSync(this.fd);
  });
  await bench.accept(records(1, 2));
  assert.equal(synced, 2);
});

test("FileDestination waits for a directory that is not there, or must not be written to", async (t) => {
  const bench = new FileBench(t);
  bench.settings = { ...bench.settings, directory: path.join(bench.root, "later") };
  const missing = await bench.send(records(0, 1));
  assert.deepEqual(missing, {
    kind: "failed",
    scope: "endpoint",
    pace: "backoff",
    timedOut: false,
    requestBytes: 0,
    error: `Cannot write to ${bench.root}/later: there is no such directory (ENOENT)`,
  });
  mkdirSync(path.join(bench.root, "later"));
  await bench.accept(records(0, 1));
  if (process.geteuid?.() === 0) return;
  chmodSync(bench.directory, 0o500);
  bench.settings = { ...bench.settings, directory: bench.directory };
  const locked = await bench.send(records(0, 1));
  assert.ok(locked.kind === "failed" && /EACCES/.test(locked.error));
});

test("FileDestination loses nothing to a file that somebody has cut or taken away", async (t) => {
  const bench = new FileBench(t);
  await bench.accept(records(0, 3));
  const [part] = bench.names;
  truncateSync(path.join(bench.directory, part!), 5);
  await bench.accept(records(3, 4));
  assert.deepEqual(
    bench.names.map((name) => bench.text(name)),
    ["paylo", "payload 3\n"],
  );
});

test("FileDestination waits on a full disk, and leaves no part of a batch (needs root)", async (t) => {
  await onSmallDisk(t, 1024 * 1024, async (mount) => {
    const bench = new FileBench(t, { rotateBytes: 2 ** 30 }, mount);
    await bench.accept(records(0, 2));
    const large = [{ sequence: 2, ingestTimeMs: 1, data: Buffer.alloc(2 * 1024 * 1024, "x") }];
    const outcome = await bench.send(large);
    assert.ok(
      outcome.kind === "failed" && /the disk is full \(ENOSPC\)/.test(outcome.error),
      JSON.stringify(outcome),
    );
    await bench.accept(records(2, 4));
    assert.equal(bench.text(bench.names[0]!), "payload 0\npayload 1\npayload 2\npayload 3\n");
  });
});
