import assert from "node:assert/strict";
import { test } from "node:test";
import { ExportBench, numbered } from "../support/export-bench.ts";

test("ExportManager sends every message once, in order, and tells so in the status", async (t) => {
  const bench = await ExportBench.start(t);
  const manager = bench.manager();
  const stream = bench.addStream(manager, "s", [{ identifier: "k", kinesisStreamName: "target" }]);
  assert.deepEqual(manager.statuses("s"), [
    {
      exportConfigIdentifier: "k",
      lastExportedSequenceNumber: -1,
      lastExportTime: 0,
      errorMessage: "",
      exportedBytesFromStream: 0,
      exportedMessagesCount: 0,
    },
  ]);
  manager.onProgress("s", await stream.append(numbered(1200)));
  await manager.idle();
  assert.deepEqual(bench.server.storedIn("target"), numbered(1200));
  assert.deepEqual(
    bench.server.requests.map(({ data }) => data.length),
    [500, 500, 200],
  );
  const keys = bench.server.requests.flatMap((request) => request.keys);
  assert.equal(new Set(keys).size, 1200);
  const [status] = manager.statuses("s");
  assert.equal(status?.lastExportedSequenceNumber, 1199);
  assert.equal(status.exportedMessagesCount, 1200);
  assert.equal(status.exportedBytesFromStream, numbered(1200).join("").length);
  assert.equal(status.errorMessage, "");
  assert.ok(status.lastExportTime > 0);
});
