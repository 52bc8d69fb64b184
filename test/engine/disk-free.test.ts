import assert from "node:assert/strict";
import { existsSync, statfsSync, truncateSync, writeFileSync } from "node:fs";
import path from "node:path";
import { it } from "node:test";
import { setTimeout as after } from "node:timers/promises";

import { MillraceClient } from "../../src/client/millrace-client.ts";
import { StrategyOnFull } from "../../src/core/stream-definition.ts";
import { EngineProcess } from "../support/engine-process.ts";
import { onSmallDisk } from "../support/test-disk.ts";

const MIB = 1024 * 1024;
const KEPT_BYTES = 12 * MIB;

function freeBytes(directory: string): number {
  const { bavail, bsize } = statfsSync(directory);
  return bavail * bsize;
}

async function until(isDone: () => Promise<boolean>, what: string): Promise<void> {
  for (let tries = 0; tries < 200; tries++) {
    if (await isDone()) return;
    await after(100);
  }
  assert.fail(`${what} did not happen`);
}

it("an engine keeps MILLRACE_DISK_FREE_MIN_BYTES free on a real disk that somebody else fills", async (t) => {
  await onSmallDisk(t, 64 * MIB, async (disk, cleanUps) => {
    const env = { MILLRACE_DISK_FREE_MIN_BYTES: String(KEPT_BYTES) };
    const engine = await EngineProcess.start(cleanUps, { storeDirectory: disk, env });
    const url = `ws://127.0.0.1:${engine.port}`;
    const client = await MillraceClient.connect({ url, token: engine.token! });
    cleanUps.after(() => client.close());
    const sizes = { maxSize: 200 * MIB, streamSegmentSize: 2 * MIB };
    const { RejectNewData, OverwriteOldestData } = StrategyOnFull;
    await client.createMessageStream({ name: "kept", ...sizes, strategyOnFull: RejectNewData });
    await client.createMessageStream({ name: "newest", ...sizes, strategyOnFull: OverwriteOldestData });
    const payload = (): Uint8Array => crypto.getRandomValues(new Uint8Array(64 * 1024));
    for (let count = 0; count < 128; count++) await client.appendMessage("newest", payload());
    await client.appendMessage("kept", payload());

    // It would take what the streams free.
    await until(
      () => Promise.resolve(existsSync(path.join(disk, "store", "ballast"))),
      "that the ballast is made",
    );
    const filler = path.join(disk, "filler");
    writeFileSync(filler, Buffer.alloc(freeBytes(disk) - KEPT_BYTES + 4 * MIB));
    const isShort = async (): Promise<boolean> =>
      (await engine.metrics()).includes('millrace_stream_disk_short{stream="kept"} 1');
    await until(isShort, "that the metric tells of the disk");
    const text = /is full, the disk has \d+ bytes free, MILLRACE_DISK_FREE_MIN_BYTES keeps 12582912/;
    await assert.rejects(client.appendMessage("kept", payload()), text);
    // The other one makes room for both, out of what is its own.
    await client.appendMessage("newest", payload());
    assert.ok(freeBytes(disk) >= KEPT_BYTES - MIB, `${freeBytes(disk)} bytes are free`);
    const newest = await client.describeMessageStream("newest");
    assert.ok(newest.storageStatus.oldestSequenceNumber > 0);

    truncateSync(filler);
    await until(async () => !(await isShort()), "that the metric takes it back");
    assert.equal(await client.appendMessage("kept", payload()), 1);
    client.close();
    assert.equal((await engine.stop()).code, 0);
  });
});
