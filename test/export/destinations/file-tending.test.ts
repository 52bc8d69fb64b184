import assert from "node:assert/strict";
import { existsSync, mkdirSync, readFileSync, renameSync, unlinkSync, writeFileSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { FILE_EXPORT_PLACES_MAX } from "../../../src/core/limits.ts";
import { FileBench, records } from "../../support/file-bench.ts";

const HOUR_MS = 3_600_000;

test("FileDestination completes a file that nothing is written to when it is time, and not before", async (t) => {
  const bench = new FileBench(t, { rotateMs: HOUR_MS });
  assert.equal(await bench.accept(records(0, 1)), HOUR_MS);
  bench.nowMs += 1000;
  assert.equal(await bench.accept(records(1, 2)), HOUR_MS - 1000, "as old as its first message");
  bench.nowMs += HOUR_MS - 1001;
  assert.deepEqual(await bench.tend(), { error: "", dueInMs: 1 });
  assert.match(bench.names.join(" "), /^\S+\.raw\.part$/);
  bench.nowMs += 1;
  assert.deepEqual(await bench.tend(), { error: "" });
  assert.match(bench.names.join(" "), /^\S+\.raw$/);
  assert.equal(bench.text(bench.names[0]!), "payload 0\npayload 1\n");
  assert.deepEqual(await bench.tend(), { error: "" });
  await bench.accept(records(2, 3));
  assert.match(bench.names[1]!, /-0{15}2\.raw\.part$/);
});

test("FileDestination leaves a file that only its size completes, and wants nothing of nobody", async (t) => {
  const bench = new FileBench(t);
  assert.deepEqual(await bench.tend(), { error: "" });
  assert.equal(await bench.accept(records(0, 1)), undefined);
  bench.nowMs += 100 * HOUR_MS;
  assert.deepEqual(await bench.tend(), { error: "" });
  assert.match(bench.names.join(" "), /\.part$/);
});

test("FileDestination completes the file of an exporter that sends no more, and keeps nothing of it", async (t) => {
  for (const settings of [undefined, null]) {
    const bench = new FileBench(t, { rotateMs: HOUR_MS });
    await bench.accept(records(0, 2));
    assert.equal(bench.notes.length, 1);
    writeFileSync(path.join(bench.directory, bench.names[0]!), "payload 2\npayl", { flag: "a" });
    assert.deepEqual(await bench.tend({ isLast: true, ...(settings === null && { settings }) }), {
      error: "",
    });
    assert.equal(bench.text(bench.names[0]!), "payload 0\npayload 1\n", "without what did not count");
    assert.deepEqual(bench.allNames, bench.names, "and nothing beside it");
    assert.doesNotMatch(bench.names[0]!, /part$/);
    assert.deepEqual(bench.notes, []);
    // It may go on one day.
    await bench.accept(records(2, 3));
    assert.equal(bench.names.length, 2);
  }
});

test("FileDestination makes no file of messages of which none counts", async (t) => {
  const bench = new FileBench(t);
  await bench.accept(records(0, 1));
  const [part] = bench.names;
  // As a kill leaves it between the file's first bytes and their account.
  await bench.tend({ isLast: true });
  unlinkSync(path.join(bench.directory, part!.replace(/\.part$/, "")));
  mkdirSync(path.join(bench.directory, "blocked"));
  await bench.accept(records(1, 2));
  const state = bench.allNames.find((name) => name.endsWith(".state"))!;
  const text = readFileSync(path.join(bench.directory, state), "utf8");
  assert.match(text, /"bytes":0,"rawBytes":0,"nextSequence":1/, "it was noted before the messages");
  const first = text.slice(4096, 8192);
  writeFileSync(path.join(bench.directory, state), first.padStart(8192, " "));
  await bench.tend({ isLast: true });
  assert.deepEqual(bench.allNames, ["blocked"]);
});

test("FileDestination completes what it left where it does not write any more", async (t) => {
  const bench = new FileBench(t, { rotateMs: HOUR_MS });
  await bench.accept(records(0, 1));
  const before = bench.settings;
  const elsewhere = path.join(bench.root, "elsewhere");
  mkdirSync(elsewhere);
  bench.settings = { ...before, directory: elsewhere };
  assert.equal(await bench.accept(records(1, 2)), HOUR_MS);
  assert.match(bench.names.join(" "), /\.part$/);
  assert.deepEqual(await bench.tend(), { error: "", dueInMs: HOUR_MS });
  assert.match(bench.names.join(" "), /\.raw$/);
  assert.deepEqual(
    bench.notes.map(({ directory }) => directory),
    [elsewhere],
  );
  // Of another format, too.
  bench.settings = { ...bench.settings, gzip: true };
  assert.deepEqual(await bench.tend(), { error: "" });
  bench.settings = before;
  assert.deepEqual(await bench.tend(), { error: "" });
  assert.deepEqual(bench.notes, []);
});

test("FileDestination keeps in mind what it cannot complete now, and no more places than it may", async (t) => {
  const bench = new FileBench(t);
  await bench.accept(records(0, 1));
  renameSync(bench.directory, `${bench.directory}-away`);
  const away = await bench.tend({ isLast: true });
  assert.match(away.error, /Cannot write to .*\/out: there is no such directory \(ENOENT\)/);
  renameSync(`${bench.directory}-away`, bench.directory);
  assert.match((await bench.tend({ isLast: true, allowed: [] })).error, /MILLRACE_EXPORT_FILE_DIRS/);
  assert.match(bench.names.join(" "), /\.part$/);
  assert.deepEqual(await bench.tend({ isLast: true }), { error: "" });
  assert.match(bench.names.join(" "), /\.raw$/);
  for (let place = 0; place <= FILE_EXPORT_PLACES_MAX; place += 1) {
    const directory = path.join(bench.root, String(place));
    mkdirSync(directory);
    bench.settings = { ...bench.settings, directory };
    await bench.accept(records(1 + place, 2 + place));
  }
  assert.equal(bench.notes.length, FILE_EXPORT_PLACES_MAX);
  assert.ok(bench.notes.every(({ directory }) => directory !== path.join(bench.root, "0")));
});

test("FileDestination lets a file grow old although the wall clock was set back", async (t) => {
  const bench = new FileBench(t, { rotateMs: HOUR_MS });
  await bench.accept(records(0, 1));
  bench.nowMs -= 1000 * HOUR_MS;
  assert.deepEqual(await bench.tend(), { error: "", dueInMs: HOUR_MS });
  bench.nowMs += HOUR_MS;
  assert.deepEqual(await bench.tend(), { error: "" });
  assert.match(bench.names.join(" "), /\.raw$/);
});

test("FileDestination that finds neither file nor state has nothing to complete", async (t) => {
  const bench = new FileBench(t, { rotateMs: HOUR_MS });
  await bench.accept(records(0, 1));
  unlinkSync(path.join(bench.directory, bench.names[0]!));
  bench.nowMs += HOUR_MS;
  assert.deepEqual(await bench.tend(), { error: "" });
  for (const name of bench.allNames) unlinkSync(path.join(bench.directory, name));
  assert.deepEqual(await bench.tend({ isLast: true }), { error: "" });
  assert.ok(existsSync(bench.directory));
  assert.deepEqual(bench.notes, []);
});

test("FileDestination takes off the list what it has completed alone, not what was noted meanwhile", async (t) => {
  const bench = new FileBench(t);
  await bench.accept(records(0, 1));
  const tending = bench.tend({ isLast: true });
  const note = { directory: `${bench.directory}/other`, state: ".other.state" };
  bench.note(note);
  assert.deepEqual(await tending, { error: "" });
  assert.deepEqual(bench.notes, [note]);
});
