import assert from "node:assert/strict";
import path from "node:path";
import { describe, it, type TestContext } from "node:test";
import { runProgram } from "../support/program.ts";

const runScript = path.join(import.meta.dirname, "..", "..", "bench", "run.js");
const SCENARIO_S = "0.2";
const MICRO_S = "0.05";

const ingestKeys = [
  "name",
  "messages_per_s",
  "mib_per_s",
  "ack_p50_us",
  "ack_p99_us",
  "rss_mib",
  "cpu_s_per_gb",
  "bytes_per_accepted_byte",
];

type ResultLine = Record<string, unknown> & { readonly name: string };

async function bench(t: TestContext, ...args: string[]): Promise<ResultLine[]> {
  const { code, stdout, stderr } = await runProgram(t, [runScript, ...args, "--json"]);
  assert.equal(code, 0, stderr);
  return stdout
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line) as ResultLine);
}

/** Names of the keys that hold a number above zero. */
function measuredKeys(line: ResultLine): string[] {
  return ingestKeys.slice(1).filter((key) => typeof line[key] === "number" && line[key] > 0);
}

describe("bench ingest", () => {
  it("gives every case of an engine with all keys", async (t) => {
    const lines = await bench(t, "ingest", "--seconds", SCENARIO_S);
    const byName = new Map(lines.map((line) => [line.name, line]));
    assert.equal(byName.size, lines.length);
    for (const line of lines.slice(0, -1))
      assert.deepEqual(Object.keys(line), [...ingestKeys, "environment"]);

    for (const kind of ["4 KiB batches, File", "64 KiB batches, File", "256 KiB batches, File"]) {
      assert.deepEqual(measuredKeys(byName.get(`append ${kind}`)!), ingestKeys.slice(1), kind);
    }
    for (const name of ["append one message a frame, File", "append one message awaited, File"]) {
      assert.deepEqual(measuredKeys(byName.get(name)!), ingestKeys.slice(1), name);
    }
    const flushed = byName.get("append 64 KiB batches, File flushOnWrite");
    assert.deepEqual(measuredKeys(flushed!), ingestKeys.slice(1));
    const produced = byName.get("append 64 KiB batches by producer(), File");
    assert.deepEqual(
      measuredKeys(produced!),
      ingestKeys.slice(1).filter((key) => !key.startsWith("ack_")),
    );
    assert.equal(byName.get("append 64 KiB batches, Memory")?.["bytes_per_accepted_byte"], null);
    assert.equal(byName.get("bare ws sink, one message a frame")?.["ack_p50_us"], null);
    assert.equal(byName.get("bare ws echo, one message awaited")?.["bytes_per_accepted_byte"], null);
    assert.deepEqual(measuredKeys(byName.get("idle, no streams")!), ["rss_mib"]);

    const ratios = lines.at(-1)!;
    assert.equal(ratios.name, "ratios");
    assert.ok(Number(ratios["one_message_vs_sink"]) > 0);
    assert.ok(Number(ratios["awaited_vs_echo_p50"]) > 0);
    const environment = ratios["environment"] as Record<string, unknown>;
    assert.equal(environment["node"], process.version);
    assert.equal(typeof environment["cpu"], "string");
  });

  it("runs only the cases that are asked for", async (t) => {
    const lines = await bench(t, "ingest", "--case", "idle", "--seconds", SCENARIO_S);
    assert.deepEqual(
      lines.map(({ name }) => name),
      ["idle, no streams"],
    );
  });
});

for (const name of ["ring", "wire", "log", "framing"]) {
  describe(`bench ${name}`, () => {
    it("gives the same checksums each time", async (t) => {
      const checksums = (lines: ResultLine[]): unknown[] =>
        lines.map((line) => [line.name, line["checksum"]]);
      const first = await bench(t, name, "--seconds", MICRO_S);
      assert.ok(first.length > 0);
      for (const line of first) {
        for (const key of ["operations_per_s", "mib_per_s", "p50_ns", "p99_ns"]) {
          assert.ok(Number(line[key]) > 0, `${line.name}: ${key}`);
        }
      }
      assert.deepEqual(checksums(await bench(t, name, "--seconds", MICRO_S)), checksums(first));
    });
  });
}

describe("bench run", () => {
  it("lists the benches, and refuses a name, a case or a number that it does not know", async (t) => {
    const help = await runProgram(t, [runScript, "--help"]);
    assert.equal(help.code, 0);
    for (const name of ["ingest", "ring", "wire", "log", "framing"])
      assert.match(help.stdout, new RegExp(`^  ${name} `, "m"));
    for (const args of [
      ["no-such"],
      ["ring", "--case", "no such"],
      ["ring", "--seconds", "x"],
      ["ring", "--bad"],
    ]) {
      const { code, stderr } = await runProgram(t, [runScript, ...args]);
      assert.equal(code, 2, args.join(" "));
      assert.match(stderr, /^bench: .+\n$/);
    }
  });

  it("refuses to measure a store in memory", async (t) => {
    const { code, stderr } = await runProgram(t, [runScript, "ring", "--store", "/dev/shm"]);
    assert.equal(code, 1);
    assert.match(stderr, /tmpfs/);
  });
});
