import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { setTimeout as after } from "node:timers/promises";
import { CleanUps } from "../support/clean-ups.ts";
import type { EngineProcess } from "../support/engine-process.ts";
import { requireProgram } from "../support/require-program.ts";
import { seededRandom, testSeed } from "../support/seeded-random.ts";
import { type FileSystem, requireDisk, TestDisk } from "../support/test-disk.ts";
import { byLength, isSoak, SOAK_TIMEOUT_MS } from "../support/test-length.ts";
import {
  appendExported,
  arrivedCounters,
  exportedStream,
  hasAllOf,
  startKinesis,
} from "./exported-streams.ts";
import { FaultRun, plainAndFlushed, withClient } from "./fault-run.ts";

const options = { timeout: isSoak ? SOAK_TIMEOUT_MS : 600_000 };
const CUTS = isSoak ? 150 : byLength({ everyday: 2, long: 3 });
const LOAD_MS_MAX = 400;
/** `MILLRACE_SYNC_INTERVAL_MS` of these engines is 20; what a sync takes comes on top, and what else this machine does. */
const LOSS_MS_MAX = 5000;
const IMAGE_MIB: Record<FileSystem, number> = { ext4: 64, xfs: 320 };

/**
 * The machine stops before its disk does, as in a power cut: the file system may tell a sync that runs at that very moment that
 * all is well, and nobody may live to hear it.
 */
async function cutAndMount(disk: TestDisk, engine: EngineProcess): Promise<void> {
  await engine.suspend();
  disk.cutPower();
  await engine.kill();
  await disk.unmount();
  disk.mount();
}

describe("a power cut", options, () => {
  for (const fileSystem of ["ext4", "xfs"] as const) {
    it(`on ${fileSystem} takes nothing that was flushed, and of other streams the newest only`, async (t) => {
      const why = "cut the power of a disk";
      if (!requireDisk(t, fileSystem, why) || !requireProgram(t, "xfs_io", why)) return;
      await CleanUps.around(async (cleanUps) => {
        const disk = TestDisk.onLoop(cleanUps, fileSystem, IMAGE_MIB[fileSystem]);
        const [flushed, plain] = plainAndFlushed;
        const streams = [
          flushed!,
          { ...plain!, exportDefinition: exportedStream("plain").exportDefinition! },
        ];
        const { kinesis, kinesisEnv } = await startKinesis(cleanUps);
        const run = new FaultRun(cleanUps, {
          seed: testSeed,
          streams,
          meetsFaults: true,
          storeDirectory: disk.makeHome(),
          env: kinesisEnv,
        });
        const random = seededRandom(testSeed);
        let forgotten = 0;
        let forgottenMsMax = 0;
        let engine = await run.start();
        await run.createStreams(engine);
        for (let cut = 0; cut < CUTS; cut++) {
          await run.startProducers(engine);
          await after(random.fraction() * LOAD_MS_MAX);
          // The first cut comes when something is known to have gone out, however slow the machine is.
          if (cut === 0) await kinesis.until(() => kinesis.storedIn("plain").length > 0);
          const cutMs = performance.now();
          await cutAndMount(disk, engine);
          await run.ended();
          engine = await run.start();
          const lost = await run.checkAfterCut(engine, {
            hint: `cut ${cut} on ${fileSystem}, SEED=${testSeed}`,
          });
          forgotten += lost.messageCount;
          if (lost.messageCount > 0) forgottenMsMax = Math.max(forgottenMsMax, cutMs - lost.oldestMs);
        }
        assert.ok(forgottenMsMax < LOSS_MS_MAX, `messages of ${forgottenMsMax} ms were forgotten`);
        assert.ok(run.acknowledgedCount > 100);
        // A destination never has what the machine forgot: the number would then stand for two messages.
        const [, checker] = run.checkers;
        const known = checker!.storedLabels();
        const exported = kinesis.storedIn("plain");
        assert.ok(exported.length > 0, "nothing was exported");
        for (const payload of exported) {
          const label = payload.split(":", 2).join(":");
          assert.ok(known.has(label), `${label} was sent, and is not stored`);
        }
        await engine.stop();
        t.diagnostic(
          JSON.stringify({
            fileSystem,
            cuts: CUTS,
            acknowledged: run.acknowledgedCount,
            forgotten,
            forgottenMsMax: Math.round(forgottenMsMax),
            exported: exported.length,
            seed: testSeed,
          }),
        );
      });
    });
  }

  it("under a device that lies about its syncs loses messages, and the store says which", async (t) => {
    const why = "cut the power of a disk";
    if (!requireDisk(t, "ext4", why) || !requireProgram(t, "xfs_io", why)) return;
    if (!requireProgram(t, "gcc", "build the shim that makes file calls fail")) return;
    await CleanUps.around(async (cleanUps) => {
      const disk = TestDisk.onLoop(cleanUps, "ext4", IMAGE_MIB.ext4);
      const { kinesis, kinesisEnv } = await startKinesis(cleanUps);
      const run = new FaultRun(cleanUps, {
        seed: testSeed,
        streams: [exportedStream("exported-lie")],
        storeDirectory: disk.makeHome(),
        env: kinesisEnv,
      });
      const engine = await run.startUnderShim();
      await run.createStreams(engine);
      await withClient(engine, (client) => appendExported(client, "exported-lie", { from: 0, to: 3 }));
      await kinesis.until(() => hasAllOf(kinesis, "exported-lie", 3));
      // From here on segments only claim to be on the medium; the exporter's cursor really is.
      run.shim.setRules("fdatasync .lz4 * LIE");
      await withClient(engine, (client) => appendExported(client, "exported-lie", { from: 3, to: 40 }));
      await kinesis.until(() => hasAllOf(kinesis, "exported-lie", 40));
      await after(2500);
      await cutAndMount(disk, engine);
      const next = await run.start();
      await withClient(next, async (client) => {
        const { storageStatus } = await client.describeMessageStream("exported-lie");
        assert.equal(
          storageStatus.newestSequenceNumber,
          39,
          "numbers that were exported are not given again",
        );
        assert.equal(await appendExported(client, "exported-lie", { from: 40, to: 41 }), 40);
        await kinesis.until(() => arrivedCounters(kinesis, "exported-lie").includes(40));
      });
      const { stderr } = await next.stop();
      assert.match(stderr, /lost acknowledged messages \d+ to 39/, stderr);
    });
  });

  it("of the disk alone leaves the engine there, which refuses, and never acknowledges what is not stored", async (t) => {
    const why = "cut the power of a disk";
    if (!requireDisk(t, "ext4", why) || !requireProgram(t, "xfs_io", why)) return;
    await CleanUps.around(async (cleanUps) => {
      const disk = TestDisk.onLoop(cleanUps, "ext4", IMAGE_MIB.ext4);
      const run = new FaultRun(cleanUps, {
        seed: testSeed,
        streams: [plainAndFlushed[0]!],
        meetsFaults: true,
        storeDirectory: disk.makeHome(),
        env: { MILLRACE_SHUTDOWN_MS: "1000" },
      });
      const engine = await run.startLoaded({ answers: 20 });
      const { port } = engine;
      await run.startProducers(engine);
      disk.cutPower();
      await run.until(({ failureTexts }) => failureTexts.has("rejected: The storage does not take writes"));
      const response = await fetch(`http://127.0.0.1:${port}/healthz`);
      assert.equal(response.status, 200, "the process is there, and answers");
      await run.drain();
      // It says that it could not sync.
      const { code, signal, stderr } = await engine.stop();
      assert.deepEqual([code, signal], [1, null]);
      assert.match(stderr, /^millrace: /m);
      await disk.unmount();
      disk.mount();
      await run.check(await run.start());
    });
  });
});
