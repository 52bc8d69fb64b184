import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { once } from "node:events";
import { createServer, type AddressInfo, type Socket } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { test } from "node:test";
import type { BenchRecord } from "../../bench/bench.ts";
import { createInferenceDataSet } from "../../bench/data-set.ts";
import { buildDriver, DriverBuildError, DriverProcess } from "../../bench/peers/driver-process.ts";
import { packedPayloadCount, peersBench, readyPeers } from "../../bench/scenario/peers.ts";
import { repositoryRoot } from "../../bench/environment.ts";
import { requireProgram } from "../support/require-program.ts";
import { runShort } from "./short-run.ts";

const timeout = 120_000;
const SECONDS = 0.2;

test("packedPayloadCount counts as a driver packs: whole messages, and anew with each turn of the data set", () => {
  const messages = [10, 10, 30, 96].map((length) => new Uint8Array(length));
  assert.equal(packedPayloadCount(messages, 0, 100), 0);
  assert.equal(packedPayloadCount(messages, 3, 100), 1);
  assert.equal(packedPayloadCount(messages, 4, 100), 2);
  assert.equal(packedPayloadCount(messages, 5, 100), 3);
  assert.equal(packedPayloadCount(messages, 8, 100), 4);
  assert.equal(packedPayloadCount(messages, 4, 1), 4);
});

test(
  "bench peers drives every peer that is installed, and says what it cannot do",
  { timeout },
  async (t) => {
    for (const program of ["nats-server", "redis-server", "cc"]) {
      if (!requireProgram(t, program, "measure beside it")) return;
    }
    const storeRoot = mkdtempSync(path.join(tmpdir(), "millrace-bench-test-"));
    t.after(() => rmSync(storeRoot, { recursive: true, force: true }));
    const records: BenchRecord[] = [];
    const profileDirectory = undefined;
    const createDataSet = createInferenceDataSet;
    const options = { caseFilter: "", seconds: SECONDS, storeRoot, profileDirectory, createDataSet };
    for await (const record of peersBench.run(options)) records.push(record);
    const measured = records.filter(({ values }) => Number(values["messages_per_s"]) > 0);
    const ways = ["Millrace by ws", "Millrace, pre-encoded"];
    for (const sending of ["one message each", "64 KiB batches", "one message awaited"]) {
      for (const [durability, names] of [
        ["answered before the sync", [...ways, "NATS JetStream", "Redis streams"]],
        ["answered behind the sync", [...ways, "Redis streams"]],
      ] as const) {
        for (const name of names) {
          const found = measured.find((record) => record.name === `${name}, ${sending}, ${durability}`);
          assert.ok(found, `${name}, ${sending}, ${durability}`);
          assert.ok(Number(found.values["rss_mib"]) > 0);
        }
      }
    }
    const refused = records.find(
      ({ name }) => name.startsWith("NATS JetStream") && name.endsWith("behind the sync"),
    );
    assert.match(String(refused?.values["note"]), /not possible/);
    const compared = records.filter(({ name }) => name.includes(" / "));
    for (const [way, count] of [
      ["Millrace by ws / ", 9],
      ["Millrace by its client's producer() / ", 2],
      ["Millrace, pre-encoded / ", 9],
    ] as const)
      assert.equal(compared.filter(({ name }) => name.startsWith(way)).length, count, way);
    assert.match(compared[0]!.name, /^Millrace by ws/);
    for (const { name, values, rounds } of compared) {
      assert.ok(Number(values["rate_vs_peer"]) > 0, name);
      assert.equal(rounds?.["rate_vs_peer"]?.length, 1, name);
      assert.equal(String(values["behind_in"]).includes("MAXLEN"), name.includes("Redis"), name);
      assert.equal("driver_cpu_vs_peer" in values, !name.includes("pre-encoded"), name);
      const isAwaited = name.includes("awaited");
      assert.equal(typeof values["ack_p99_vs_peer"] === "number", isAwaited, name);
      // A driver may also be so idle in so short a round that its CPU time is unknown.
      const isUnknown = /unknown: .*ack p50, ack p99/.test(String(values["behind_in"]));
      assert.equal(isUnknown, !isAwaited, name);
    }
    assert.deepEqual(readdirSync(storeRoot), [], "nothing is left behind");
  },
);

test(
  "bench peers has a row of a missing peer in each group, found by the names that rows have",
  { timeout },
  async (t) => {
    const { PATH: before } = process.env;
    t.after(() => (process.env["PATH"] = before));
    process.env["PATH"] = "/no/such/directory";
    const names = async (caseFilter: string): Promise<readonly string[]> => {
      const records = await runShort(t, peersBench, { caseFilter, seconds: SECONDS });
      for (const { name, values } of records)
        assert.equal(
          /^not measured: .* not installed/.test(String(values["note"])),
          !name.startsWith("Millrace"),
          name,
        );
      return records.map(({ name }) => name);
    };
    const label = "one message awaited, answered behind the sync";
    const peerNames = [`NATS JetStream, ${label}`, `Redis streams, ${label}`];
    assert.deepEqual(await names(label), [
      ...peerNames,
      `Millrace by ws, ${label}`,
      `Millrace, pre-encoded, ${label}`,
    ]);
    assert.deepEqual(await names(`Redis streams, ${label}`), [`Redis streams, ${label}`]);
    assert.equal((await names("NATS JetStream")).length, 6);
  },
);

test(
  "bench peers measures what a comparison needs, and gives the rows that were asked for",
  { timeout },
  async (t) => {
    for (const program of ["redis-server", "cc"]) {
      if (!requireProgram(t, program, "measure beside it")) return;
    }
    const caseFilter = "Millrace by ws / Redis streams, one message awaited, answered before the sync";
    const records = await runShort(t, peersBench, { caseFilter, seconds: SECONDS });
    assert.deepEqual(
      records.map(({ name }) => name),
      [caseFilter],
    );
    assert.ok(Number(records[0]?.values["rate_vs_peer"]) > 0);
  },
);

test("DriverProcess.start says what a driver said when it ended", async (t) => {
  if (!requireProgram(t, "sh", "stand for a driver")) return;
  const options = { target: "127.0.0.1:1", messagesPath: "/nowhere", packBytes: 0, window: 0 };
  // A shell takes the first word for a script that is not there.
  await assert.rejects(DriverProcess.start("sh", options), /the driver has ended: .*127\.0\.0\.1:1/s);
  await assert.rejects(DriverProcess.start("/no/such/driver", options), /ENOENT/);
});

test("buildDriver says what it needs where it cannot compile, and its peer then has a row that says so", (t) => {
  for (const program of ["nats-server", "redis-server"]) {
    if (!requireProgram(t, program, "be a peer without a driver")) return;
  }
  const directory = mkdtempSync(path.join(tmpdir(), "millrace-bench-test-"));
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  const build = (name: "nats" | "redis") => buildDriver(name, { compiler: "/no/such/cc", directory });
  assert.throws(() => build("nats"), DriverBuildError);
  const [nats, redis] = readyPeers((name) => (name === "nats" ? build(name) : "/ready/driver"));
  assert.match(nats?.missing ?? "", /Cannot build nats-driver\.c: .*ENOENT.*libnats-dev/);
  assert.equal(redis?.program, "/ready/driver");
  const fail = (): never => {
    throw new Error("another failure");
  };
  assert.throws(() => readyPeers(fail), /another failure/);
});

test("driver.h draws the latencies that it tells from all of a long slice", (t) => {
  if (!requireProgram(t, "cc", "compile what the drivers share")) return;
  const directory = mkdtempSync(path.join(tmpdir(), "millrace-bench-test-"));
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  const program = path.join(directory, "sample");
  const header = path.join(repositoryRoot, "bench", "peers", "driver.h");
  // 0 to 999,999 us, one after the other: what is told must be spread as evenly.
  writeFileSync(
    `${program}.c`,
    `#include "${header}"
    int main(void) {
      Slice *slice = calloc(1, sizeof(Slice));
      for (int us = 0; us < 1000000; us++) add_latency(slice, us / 1e6);
      print_slice(slice);
      memset(slice, 0, offsetof(Slice, latencies_us));
      add_latency(slice, 7e-6);
      print_slice(slice);
      return 0;
    }`,
  );
  const built = spawnSync("cc", ["-O2", "-o", program, `${program}.c`], {
    encoding: "utf8",
    timeout: 60_000,
  });
  assert.equal(built.status, 0, built.stderr);
  const { stdout } = spawnSync(program, { encoding: "utf8", maxBuffer: 16 * 1024 * 1024, timeout: 60_000 });
  const slices = stdout.trim().split("\n");
  const [long, short] = slices.map((line) => (JSON.parse(line) as { latencies_us: number[] }).latencies_us);
  assert.equal(long?.length, 200_000);
  const tenths = Array.from({ length: 10 }, () => 0);
  for (const us of long) tenths[Math.floor(us / 100_000)]! += 1;
  for (const count of tenths) assert.ok(Math.abs(count - 20_000) < 1000, tenths.join(" "));
  assert.deepEqual(short, [7]);
});

test("the Redis driver says that a Redis is too old to tell what it took", async (t) => {
  for (const program of ["redis-server", "cc"]) {
    if (!requireProgram(t, program, "drive a Redis")) return;
  }
  const directory = mkdtempSync(path.join(tmpdir(), "millrace-bench-test-"));
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  const messagesPath = path.join(directory, "messages");
  writeFileSync(messagesPath, Buffer.from("01000000aa", "hex"));
  const sockets = new Set<Socket>();
  // What Redis 6 says of a stream has no entries-added.
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on("data", () => socket.write("*2\r\n$6\r\nlength\r\n:0\r\n"));
    socket.on("error", () => undefined);
  });
  t.after(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  await once(server.listen(0, "127.0.0.1"), "listening");
  const target = `127.0.0.1:${(server.address() as AddressInfo).port}`;
  const options = { target, messagesPath, packBytes: 0, window: 0 };
  const driver = await DriverProcess.start(buildDriver("redis"), options);
  t.after(async () => driver.kill());
  await assert.rejects(driver.end(), /entries-added: Redis is older than 7/);
});
