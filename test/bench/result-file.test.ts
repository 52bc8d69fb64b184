import assert from "node:assert/strict";
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { test, type TestContext } from "node:test";
import { chooseDataSet } from "../../bench/data-set-choice.ts";
import { describeEnvironment } from "../../bench/environment.ts";
import { readResult, RESULT_FORMAT, writeResult, type BenchResult } from "../../bench/result-file.ts";

function directoryFor(t: TestContext): string {
  const directory = mkdtempSync(path.join(tmpdir(), "millrace-result-"));
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

const result: BenchResult = {
  format: RESULT_FORMAT,
  bench: "ingest",
  environment: describeEnvironment({ storeRoot: tmpdir(), dataSet: "inference", settings: { seconds: 1 } }),
  records: [
    { name: "idle", values: { rss_mib: 70.5, ack_p50_us: null } },
    {
      name: "append",
      values: { messages_per_s: 3 },
      rounds: { messages_per_s: [2, 3, 4] },
      latencies: { ack: { count: 1, min_us: 1, mean_us: 1, max_us: 1, percentiles_us: [[50, 1]] } },
      threads: { "engine mr-main": 1.5 },
    },
  ],
};

test("readResult gives back what writeResult wrote, and nothing else is left beside it", (t) => {
  const directory = directoryFor(t);
  const filePath = path.join(directory, "deeper", "result.json");
  writeResult(filePath, { ...result, records: [] });
  writeResult(filePath, result);
  assert.deepEqual(readResult(filePath), result);
  assert.deepEqual(readdirSync(path.dirname(filePath)), ["result.json"]);
});

test("readResult names the file and the place that is wrong", (t) => {
  const filePath = path.join(directoryFor(t), "result.json");
  assert.throws(() => readResult(filePath), /Cannot read the result .*result\.json: ENOENT/);
  writeFileSync(filePath, "{");
  assert.throws(() => readResult(filePath), /Cannot read the result .*result\.json: .*JSON/);
  writeFileSync(filePath, JSON.stringify({ ...result, format: "other-1" }));
  assert.throws(() => readResult(filePath), /format: .*other-1/);
  writeFileSync(filePath, JSON.stringify({ ...result, records: [{ name: "x", values: { y: [] } }] }));
  assert.throws(() => readResult(filePath), /records\.0\.values\.y/);
  const infinite = JSON.stringify({ ...result, records: [{ name: "x", values: {}, rounds: { y: [9] } }] });
  writeFileSync(filePath, infinite.replace("[9]", "[9e999]"));
  assert.throws(() => readResult(filePath), /records\.0\.rounds\.y\.0/);
});

test("chooseDataSet takes a name, or the lines of a file again and again", (t) => {
  assert.equal(chooseDataSet("inference")(3).name, "inference-json");
  const filePath = path.join(directoryFor(t), "lines.txt");
  writeFileSync(filePath, "one\n\ntwo");
  const { messages, payloadBytes, name } = chooseDataSet(filePath)(3);
  assert.deepEqual(
    messages.map((message) => Buffer.from(message).toString()),
    ["one", "two", "one"],
  );
  assert.equal(payloadBytes, 9);
  assert.equal(name, "lines.txt");
  writeFileSync(filePath, "\n\n");
  assert.throws(() => chooseDataSet(filePath)(3), /no line that is not empty/);
  assert.throws(() => chooseDataSet("no-such-set")(3), /Cannot use the data set "no-such-set": ENOENT/);
});
