import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { chmodSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { test } from "node:test";
import { replayBench } from "../../bench/scenario/replay.ts";
import { runShort } from "./short-run.ts";

const runScript = path.join(import.meta.dirname, "..", "..", "bench", "run.js");
const NOBODY = 65_534;

test("benches say of cold cases that another user than root cannot measure them", (t) => {
  const directory = mkdtempSync(path.join(tmpdir(), "millrace-cold-"));
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  chmodSync(directory, 0o777);
  for (const [bench, text] of [
    ["replay", "page cache"],
    ["recovery", "cold"],
  ] as const) {
    const out = path.join(directory, `${bench}.json`);
    const words = [bench, "--case", text, "--seconds", "0.05", "--json", "--out", out, "--store", directory];
    const { stdout, stderr } = spawnSync(process.execPath, [runScript, ...words], {
      encoding: "utf8",
      timeout: 60_000,
      env: { ...process.env, NODE_TEST_CONTEXT: undefined },
      ...(process.getuid?.() === 0 && { uid: NOBODY, gid: NOBODY }),
    });
    assert.equal(stderr, "");
    const { name, values } = JSON.parse(stdout) as { name: string; values: { note: string } };
    assert.ok(name.includes(text));
    assert.equal(values.note, "not measured: only root may empty the page cache");
  }
});

test("bench replay reads a stored stream whole in every way", async (t) => {
  const records = await runShort(t, replayBench, { seconds: 0.05 });
  // Only root may empty the page cache.
  const names = records.map(({ name }) => name).filter((name) => !name.includes("page cache"));
  assert.deepEqual(names, [
    "by subscription",
    "by subscription, 4 readers",
    "by subscribe() of the client",
    "by readMessages() of the client",
  ]);
  for (const record of records.filter(({ values }) => values["note"] === undefined)) {
    for (const key of ["messages_per_s", "mib_per_s", "rss_mib"])
      assert.ok(Number(record.values[key]) > 0, `${record.name}: ${key}`);
  }
});
