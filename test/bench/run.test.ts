import assert from "node:assert/strict";
import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { describe, it, type TestContext } from "node:test";
import type { BenchRecord } from "../../bench/bench.ts";
import { emptyCaseValues } from "../../bench/scenario/case-record.ts";
import { REWRITE_WRITTEN_SHARE_MAX, WRITE_AMPLIFICATION_MAX } from "../../src/core/limits.ts";
import { bindingsPath } from "../../src/native/native-bindings.ts";
import { runProgram } from "../support/program.ts";
import { requireProgram, skipOrFail } from "../support/require-program.ts";
import { byLength } from "../support/test-length.ts";

const runScript = path.join(import.meta.dirname, "..", "..", "bench", "run.js");
const SCENARIO_S = "0.2";
/** Of figures with three decimals. */
const ROUNDING = 0.002;
const MICRO_S = "0.05";

const ingestKeys = Object.keys(emptyCaseValues);

type ResultLine = Readonly<Record<string, unknown>> & { readonly name: string };

async function bench(t: TestContext, ...args: string[]): Promise<ResultLine[]> {
  const { code, stdout, stderr } = await runProgram(t, [runScript, ...args, "--json"]);
  assert.equal(code, 0, stderr);
  return stdout
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line) as BenchRecord & { readonly environment: unknown })
    .map(({ name, values, environment }) => ({ name, environment, ...values }));
}

/** Names of the keys that hold a number above zero. */
function measuredKeys(line: ResultLine): string[] {
  return ingestKeys.filter((key) => typeof line[key] === "number" && line[key] > 0);
}

describe("bench ingest", () => {
  it("gives every case of an engine with all keys", async (t) => {
    const lines = await bench(t, "ingest", "--seconds", SCENARIO_S);
    const byName = new Map(lines.map((line) => [line.name, line]));
    assert.equal(byName.size, lines.length);
    for (const line of lines.slice(0, -1))
      assert.deepEqual(Object.keys(line), ["name", "environment", ...ingestKeys]);

    const named = "64 KiB batches, File, named producer";
    for (const kind of [named, "4 KiB batches, File", "64 KiB batches, File", "256 KiB batches, File"]) {
      assert.deepEqual(measuredKeys(byName.get(`append ${kind}`)!), ingestKeys, kind);
    }
    const namedSingle = "append one message a frame in ready bytes, File, named producer";
    for (const name of [
      namedSingle,
      "append one message a frame, File",
      "append one message awaited, File",
    ]) {
      assert.deepEqual(measuredKeys(byName.get(name)!), ingestKeys, name);
    }
    const flushed = byName.get("append 64 KiB batches, File flushOnWrite");
    assert.deepEqual(measuredKeys(flushed!), ingestKeys);
    const produced = byName.get("append 64 KiB batches by producer(), File");
    assert.deepEqual(
      measuredKeys(produced!),
      ingestKeys.filter((key) => !key.startsWith("ack_")),
    );
    assert.equal(byName.get("append 64 KiB batches, Memory")?.["bytes_per_accepted_byte"], null);
    assert.equal(byName.get("bare ws sink, one message a frame")?.["ack_p50_us"], null);
    assert.equal(byName.get("bare ws echo, one message awaited")?.["bytes_per_accepted_byte"], null);
    assert.deepEqual(measuredKeys(byName.get("idle, no streams")!), ["rss_mib"]);

    const ratios = lines.at(-1)!;
    assert.equal(ratios.name, "ratios");
    assert.ok(Number(ratios["one_message_vs_sink"]) > 0);
    assert.ok(Number(ratios["named_producer_vs_none"]) > 0);
    assert.ok(Number(ratios["named_producer_vs_none_one_message"]) > 0);
    assert.ok(Number(ratios["awaited_vs_echo_p50"]) > 0);
    assert.ok(Number(ratios["awaited_vs_echo_p99"]) > 0);
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

describe("bench awaited", () => {
  it("appends by the official client with the addon and without", async (t) => {
    if (!existsSync(bindingsPath())) {
      skipOrFail(t, "the native addon is not built: npm run build, with a compiler");
      return;
    }
    const lines = await bench(t, "awaited", "--seconds", SCENARIO_S, "--case", "one awaited");
    const [withAddon, without, ratios] = lines;
    assert.equal(lines.length, 3);
    for (const line of [withAddon!, without!]) {
      for (const key of ["appends_per_s", "append_p50_us", "append_p99_us"]) {
        assert.ok(Number(line[key]) > 0, `${line.name}: ${key}`);
      }
    }
    assert.ok(Number(ratios?.["awaited_with_vs_without"]) > 0);
  });
});

describe("bench attack", () => {
  it("measures a good producer alone and under each attack", async (t) => {
    const lines = await bench(t, "attack", "--seconds", SCENARIO_S, "--case", "paced");
    assert.equal(lines.length, 6);
    for (const line of lines) {
      for (const key of [
        "alone_messages_per_s",
        "attacked_messages_per_s",
        "attacked_vs_alone",
        "tries_per_s",
      ])
        assert.ok(Number(line[key]) > 0, `${line.name}: ${key}`);
    }
    for (const refused of ["origin", "without the right", "oversize"]) {
      const line = lines.find(({ name }) => name.includes(refused));
      assert.ok(Number(line?.["answered_refusals"]) > 0, refused);
    }
  });
});

describe("bench recovery", () => {
  it("starts an engine on stores of every shape, small ones here", async (t) => {
    const lines = await bench(t, "recovery", "--seconds", SCENARIO_S);
    assert.ok(lines.length >= 4);
    for (const line of lines)
      assert.ok(Number(line["ready_ms"]) > 0 && Number(line["rss_mib"]) > 0, line.name);
    for (const key of ["kib_per_stream", "rss_kib_per_stream"])
      assert.ok(typeof lines.at(-1)?.[key] === "number", key);
  });
});

describe("bench seal", () => {
  it("finds single messages small on the disk and written less than twice, whoever waits for each answer", async (t) => {
    const [awaited, trickled] = await bench(t, "seal", "--seconds", SCENARIO_S, "--case", "one message");
    assert.ok(Number(awaited?.["sealed_segments"]) >= 2);
    assert.ok(Number(awaited?.["sealed_bytes_per_payload_byte"]) <= 0.35);
    // Where the machine's syncs cost much already, rewrites may add their share to that: what the account of writes allows.
    const written = Number(awaited?.["written_per_payload_byte"]);
    const most = Math.max(WRITE_AMPLIFICATION_MAX, written * (1 + REWRITE_WRITTEN_SHARE_MAX)) + ROUNDING;
    assert.ok(Number(awaited?.["write_amplification"]) <= most, JSON.stringify(awaited));
    assert.ok(Number(trickled?.["sealed_bytes_per_payload_byte"]) <= 0.35);
  });
});

describe("bench python", () => {
  it("measures every case of the Python client", async (t) => {
    if (!requireProgram(t, "python3", "measure the Python client")) return;
    const lines = await bench(t, "python", "--seconds", SCENARIO_S);
    assert.equal(lines.length, 5);
    for (const line of lines) {
      for (const key of ["messages_per_s", "mib_per_s", "cpu_us_per_message"])
        assert.ok(Number(line[key]) > 0, `${line.name}: ${key}`);
      if (line.name.endsWith("timed")) assert.ok(Number(line["append_p99_us"]) > 0, line.name);
    }
  });
});

for (const name of ["ring", "wire", "log", "framing"]) {
  describe(`bench ${name}`, () => {
    it("gives the same checksums each time", async (t) => {
      const checksums = (lines: readonly ResultLine[]): unknown[] =>
        lines.map((line) => [line.name, line["checksum"]]);
      const first = await bench(t, name, "--seconds", MICRO_S);
      assert.ok(first.length > 0);
      for (const line of first) {
        for (const key of ["operations_per_s", "mib_per_s", "p50_ns", "p99_ns"]) {
          assert.ok(Number(line[key]) > 0, `${line.name}: ${key}`);
        }
      }
      const chosen = byLength({ everyday: ["--case", first[0]!.name], long: [] });
      const again = await bench(t, name, "--seconds", MICRO_S, ...chosen);
      assert.ok(again.length > 0);
      const same = first.filter((line) => again.some((other) => other.name === line.name));
      assert.deepEqual(checksums(again), checksums(same));
    });
  });
}

describe("bench run", () => {
  it("lists the benches, and refuses a name, a case or a number that it does not know", async (t) => {
    const help = await runProgram(t, [runScript, "--help"]);
    assert.equal(help.code, 0);
    for (const name of [
      "ingest",
      "open",
      "replay",
      "tail",
      "mixed",
      "streams",
      "connections",
      "memory",
      "flush",
      "awaited",
      "recovery",
      "seal",
      "export",
      "python",
      "ring",
      "wire",
      "log",
      "framing",
    ])
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
    assert.equal(code, 2);
    assert.match(stderr, /^bench: .*tmpfs.*\n$/);
    const made = `/dev/shm/millrace-run-test-${process.pid}`;
    t.after(() => rmSync(made, { recursive: true, force: true }));
    assert.equal((await runProgram(t, [runScript, "ring", "--store", `${made}/store`])).code, 2);
    assert.ok(!existsSync(made));
  });

  it("refuses places and options that it cannot use before it measures anything", async (t) => {
    const directory = mkdtempSync(path.join(tmpdir(), "millrace-run-test-"));
    t.after(() => rmSync(directory, { recursive: true, force: true }));
    const file = path.join(directory, "file");
    writeFileSync(file, "");
    for (const [args, message] of [
      [["ring", "--store", file], /--store .*file: EEXIST/],
      [["ring", "--out", directory], /--out .*: is a directory/],
      [["ring", "--out", path.join(file, "out.json")], /--out .*file is no directory/],
      [["ring", "--report", directory], /--report .*: is a directory/],
      [["ingest", "--profile", file], /--profile .*: is no directory/],
      [["ingest", "--data-set", path.join(directory, "none")], /data set ".*none": ENOENT/],
      [["ingest", "--data-set", file], /no line that is not empty/],
      [["ring", "--data-set", "tensors"], /the bench ring takes no --data-set/],
      [["recovery", "--data-set", "tensors"], /takes no --data-set/],
      [["export", "--data-set", "tensors"], /takes no --data-set/],
      [["ingest", "--rate", "5"], /the bench ingest takes no --rate/],
    ] as const) {
      const { code, stdout, stderr } = await runProgram(t, [runScript, ...args]);
      assert.equal(code, 2, `${args.join(" ")}: ${stderr}`);
      assert.match(stderr, /^bench: .+\n$/);
      assert.match(stderr, message);
      assert.equal(stdout, "");
    }
    assert.deepEqual(readdirSync(directory), ["file"]);
  });
});
