import assert from "node:assert/strict";
import { test, type TestContext } from "node:test";
import { ExportBench, numbered } from "../support/export-bench.ts";
import type { ExportManager } from "../../src/export/export-manager.ts";
import { definitionWith } from "../support/stream-fixture.ts";

const config = { identifier: "e", kinesisStreamName: "target", batchSize: 10 };

/** A stream of 10 batches, and an exporter that may have so many requests under way. */
async function setUp(t: TestContext, inFlightMax: number) {
  const bench = await ExportBench.start(t);
  const manager = bench.manager();
  const stream = bench.addStream(manager, "s", [config]);
  setInFlight(manager, inFlightMax);
  const begin = async () => manager.onProgress("s", await stream.append(numbered(100)));
  return { bench, manager, stream, begin };
}

function setInFlight(manager: ExportManager, inFlightMax: number): void {
  const options = { freeExported: false, exporters: { e: { inFlightMax } } };
  manager.updateStream("s", definitionWith([config], { name: "s" }), options);
}

test("an exporter with one request under way keeps the order between batches", async (t) => {
  const { bench, manager, begin } = await setUp(t, 1);
  await begin();
  await manager.idle();
  assert.equal(bench.server.underWayMax, 1);
  assert.deepEqual(bench.server.storedIn("target"), numbered(100));
});

test("an exporter has as many requests under way as it may, and no more", async (t) => {
  const { bench, manager, begin } = await setUp(t, 4);
  // The first of a window is answered when all four have come: a slow endpoint, without a clock.
  bench.server.answer = async (_, index) => {
    if (index < 4) await bench.server.until(() => bench.server.requests.length >= 4);
    return { kind: "accept" };
  };
  await begin();
  await manager.idle();
  assert.equal(bench.server.underWayMax, 4);
  const { server } = bench;
  assert.deepEqual([...server.storedIn("target")].sort(), numbered(100).sort(), "each once");
  assert.equal(manager.ledgers("s")[0]?.accounts.exported.messages, 100);
});

test("what fails of a window goes again, and nothing else of it", async (t) => {
  const { bench, manager, begin } = await setUp(t, 4);
  bench.server.answer = (_, index) => {
    if (index === 1) return { kind: "partial", failed: [0, 9] };
    return index === 2 ? { kind: "error", status: 500 } : { kind: "accept" };
  };
  await begin();
  await manager.idle();
  assert.deepEqual([...bench.server.storedIn("target")].sort(), numbered(100).sort(), "each once");
});

test("a message that is refused within a window is set aside, and the others arrive", async (t) => {
  const { bench, manager, begin } = await setUp(t, 4);
  bench.server.answer = ({ data }) =>
    data.includes("message 25")
      ? { kind: "error", status: 400, type: "ValidationException", message: "bad" }
      : { kind: "accept" };
  await begin();
  await manager.idle();
  const others = numbered(100).filter((text) => text !== "message 25");
  assert.deepEqual([...bench.server.storedIn("target")].sort(), others.sort(), "each once");
  assert.equal(manager.ledgers("s")[0]?.accounts.setAside.messages, 1);
});
