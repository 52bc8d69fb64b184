import assert from "node:assert/strict";
import { readdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { describe, it, type TestContext } from "node:test";
import type { BenchRecord } from "../../bench/bench.ts";
import { createInferenceDataSet } from "../../bench/data-set.ts";
import { runIngest } from "../../bench/scenario/ingest.ts";

const server = path.join(import.meta.dirname, "lossy-server.js");

async function ingest(
  t: TestContext,
  options: { script: string; loses?: string },
): Promise<{ records: BenchRecord[]; storeRoot: string }> {
  const storeRoot = mkdtempSync(path.join(tmpdir(), "millrace-bench-test-"));
  t.after(() => rmSync(storeRoot, { recursive: true, force: true }));
  process.env["LOSES"] = options.loses ?? "nothing";
  t.after(() => delete process.env["LOSES"]);
  const records: BenchRecord[] = [];
  const run = runIngest(
    {
      caseFilter: "append 4 KiB",
      seconds: 0.05,
      storeRoot,
      profileDirectory: undefined,
      createDataSet: createInferenceDataSet,
    },
    options.script,
  );
  try {
    for await (const record of run) records.push(record);
  } finally {
    assert.deepEqual(readdirSync(storeRoot), [], "no store is left behind");
  }
  return { records, storeRoot };
}

describe("runIngest", () => {
  it("measures a server that does its work", async (t) => {
    const { records } = await ingest(t, { script: server });
    assert.deepEqual(
      records.map(({ name }) => name),
      ["append 4 KiB batches, File"],
    );
  });

  it("fails when the stream ends before what was acknowledged", async (t) => {
    await assert.rejects(
      ingest(t, { script: server, loses: "newest" }),
      /messages are lost: (\d+) acknowledged/,
    );
  });

  it("fails when an answer is missing", async (t) => {
    await assert.rejects(
      ingest(t, { script: server, loses: "answer" }),
      /answer to request 6, the next is 5/,
    );
  });

  it("fails when sequence numbers do not follow", async (t) => {
    await assert.rejects(ingest(t, { script: server, loses: "sequence" }), /request 5 got sequence/);
  });

  it("says why the engine did not start", async (t) => {
    const script = path.join(import.meta.dirname, "no-such-server.js");
    await assert.rejects(ingest(t, { script }), /Cannot start .*no-such-server\.js: [^]*MODULE_NOT_FOUND/);
  });
});
