import assert from "node:assert/strict";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { test } from "node:test";
import type { BenchRecord } from "../../bench/bench.ts";
import { createInferenceDataSet } from "../../bench/data-set.ts";
import { DriverProcess } from "../../bench/peers/driver-process.ts";
import { packedPayloadCount, peersBench } from "../../bench/scenario/peers.ts";
import { requireProgram } from "../support/require-program.ts";

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
      assert.equal(String(values["behind_in"]).includes("unknown: ack p50, ack p99"), !isAwaited, name);
    }
    assert.deepEqual(readdirSync(storeRoot), [], "nothing is left behind");
  },
);

test("DriverProcess.start says what a driver said when it ended", async (t) => {
  if (!requireProgram(t, "sh", "stand for a driver")) return;
  const options = { target: "127.0.0.1:1", messagesPath: "/nowhere", packBytes: 0, window: 0 };
  // A shell takes the first word for a script that is not there.
  await assert.rejects(DriverProcess.start("sh", options), /the driver has ended: .*127\.0\.0\.1:1/s);
  await assert.rejects(DriverProcess.start("/no/such/driver", options), /ENOENT/);
});
