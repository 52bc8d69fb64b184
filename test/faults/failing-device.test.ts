import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import path from "node:path";
import { describe, it } from "node:test";
import { setTimeout as after } from "node:timers/promises";
import { CleanUps } from "../support/clean-ups.ts";
import type { EngineProcess } from "../support/engine-process.ts";
import { requireProgram } from "../support/require-program.ts";
import { testSeed } from "../support/seeded-random.ts";
import { FailingDisk, requireFailingDisk } from "../support/test-disk.ts";
import { isSoak } from "../support/test-length.ts";
import { FaultRun, plainAndFlushed, withClient } from "./fault-run.ts";
import { readSome } from "./read-some.ts";
import { untilBallast } from "./until-ballast.ts";

const options = { timeout: 600_000 };
const ANSWERS = 20;
const ANSWER_MS_MAX = 10_000;
const SIZE_MIB = { ext4: 64, xfs: 320 } as const;
const READ_ONLY = "rejected: The storage does not take writes";

/** How long the main thread takes to answer something that needs no storage. */
async function answerMs({ port }: EngineProcess): Promise<number> {
  const askedMs = performance.now();
  const signal = AbortSignal.timeout(ANSWER_MS_MAX);
  const response = await fetch(`http://127.0.0.1:${port}/healthz`, { signal });
  await response.text();
  return performance.now() - askedMs;
}

/** The segments below `streams`. */
function segmentsBelow(streams: string): string[] {
  return readdirSync(streams, { recursive: true, encoding: "utf8" })
    .filter((name) => name.endsWith(".lz4"))
    .map((name) => path.join(streams, name));
}

describe("an engine over a device that fails", options, () => {
  for (const fileSystem of ["ext4", "xfs"] as const) {
    it(`keeps every acknowledged message while ${fileSystem} cannot write, and as soon as it can`, async (t) => {
      if (!requireFailingDisk(t, fileSystem, "have a device that fails")) return;
      await CleanUps.around(async (cleanUps) => {
        const disk = await FailingDisk.make(cleanUps, { fileSystem, sizeMib: SIZE_MIB[fileSystem] });
        const run = new FaultRun(cleanUps, {
          seed: testSeed,
          streams: [plainAndFlushed[0]!],
          meetsFaults: true,
          storeDirectory: disk.makeHome(),
        });
        const engine = await run.startLoaded({ answers: ANSWERS });
        await run.startProducers(engine);
        disk.fail("write");
        const failingMs = performance.now();
        await run.until(({ failureTexts }) => failureTexts.has(READ_ONLY));
        const readOnlyMs = performance.now() - failingMs;
        await run.check(engine, { hint: "while the device fails" });
        disk.heal();
        let backMs: number | undefined;
        if (fileSystem === "xfs") {
          const healedMs = performance.now();
          await run.untilAcknowledged({ answers: ANSWERS });
          backMs = performance.now() - healedMs;
        } else {
          // This file system has gone read-only and stays so until it is mounted again: no try and no start helps.
          await after(2000);
          assert.ok((await answerMs(engine)) < 1000);
        }
        await run.drain();
        await engine.kill();
        // What the kernel believed to have written is forgotten with it.
        await disk.unmount();
        disk.mount();
        const next = await run.start();
        await run.checkAfterCut(next, { hint: `after mounting ${fileSystem} again` });
        await run.loadAcknowledged(next, { answers: 2 });
        await run.check(next);
        await next.stop();
        t.diagnostic(
          JSON.stringify({
            fileSystem,
            readOnlyMs: Math.round(readOnlyMs),
            ...(backMs !== undefined && { backMs: Math.round(backMs) }),
            unknown: run.unknownCount,
          }),
        );
      });
    });
  }

  it("tells a reader of a gap where the medium cannot be read, and forgets it when it can", async (t) => {
    if (!requireFailingDisk(t, "ext4", "have a device that fails")) return;
    await CleanUps.around(async (cleanUps) => {
      const disk = await FailingDisk.make(cleanUps, { fileSystem: "ext4", sizeMib: SIZE_MIB.ext4 });
      const run = new FaultRun(cleanUps, { seed: testSeed, storeDirectory: disk.makeHome() });
      const first = await run.startLoaded({ answers: 4 * ANSWERS });
      await first.stop();
      const engine = await run.start();
      disk.dropCached(segmentsBelow(path.join(disk.directory, "home", "store", "streams")));
      disk.fail("read");
      await withClient(engine, async (client) => {
        const { storageStatus } = await client.describeMessageStream("flushed");
        const end = storageStatus.newestSequenceNumber + 1;
        let next = 0;
        let missing = 0;
        while (next < end) {
          const found = await readSome(client, "flushed", { from: next, countMax: 50 });
          if (found.length === 0) break;
          missing += found[0]!.sequenceNumber - next;
          next = found.at(-1)!.sequenceNumber + 1;
        }
        assert.ok(missing + end - next > 0, "everything could be read");
      });
      disk.heal();
      await run.check(engine, { hint: "readable again" });
      await engine.stop();
    });
  });

  it("tells a reader of a gap where one segment cannot be read, and gives the rest", async (t) => {
    if (!requireProgram(t, "gcc", "build the shim that makes file calls fail")) return;
    const run = new FaultRun(t, { seed: testSeed });
    const engine = await run.startUnderShim();
    await run.createStreams(engine);
    await run.load(engine, { answers: 4 * ANSWERS });
    const streams = path.join(run.storeDirectory, "store", "streams");
    const segments = readdirSync(streams).flatMap((id) =>
      readdirSync(path.join(streams, id))
        .filter((name) => name.endsWith(".lz4"))
        .sort()
        .slice(1, 2)
        .map((name) => path.join(id, name)),
    );
    assert.equal(segments.length, 2);
    run.shim.setRules(...segments.map((segment) => `pread ${segment} * EIO`));
    await withClient(engine, async (client) => {
      for (const { name } of run.streams) {
        const { storageStatus } = await client.describeMessageStream(name);
        const end = storageStatus.newestSequenceNumber + 1;
        const gaps: number[] = [];
        for (let next = 0; next < end;) {
          const [message] = await client.readMessages(name, {
            desiredStartSequenceNumber: next,
            minMessageCount: 1,
            maxMessageCount: 1,
          });
          if (message!.sequenceNumber > next) gaps.push(next);
          next = message!.sequenceNumber + 1;
        }
        assert.equal(gaps.length, 1, `gaps at ${gaps.join()} of "${name}"`);
      }
    });
    run.shim.setRules();
    await run.check(engine, { hint: "readable again" });
    await engine.stop();
  });
});

describe("an engine over a device that is slow", options, () => {
  it("lets its clients wait, in a bounded memory, and loses nothing", async (t) => {
    if (!requireProgram(t, "gcc", "build the shim that makes file calls late")) return;
    const run = new FaultRun(t, { seed: testSeed, meetsFaults: true, windowMax: 64 });
    const engine = await run.startUnderShim();
    await run.createStreams(engine);
    run.shim.setRules("fdatasync * * DELAY:300");
    await run.startProducers(engine);
    await after(isSoak ? 30_000 : 3000);
    assert.ok((await answerMs(engine)) < 1000, "the main thread does not wait for the disk");
    run.shim.setRules();
    await run.drain();
    const status = readFileSync(`/proc/${engine.serve.child.pid!}/status`, "utf8");
    const residentBytes = Number(/^VmHWM:\s+(\d+) kB$/m.exec(status)![1]) * 1024;
    assert.ok(residentBytes < 300 * 1024 * 1024, `${residentBytes} bytes`);
    assert.equal(run.unknownCount, 0);
    await run.check(engine);
    await engine.kill();
    await run.check(await run.start());
    t.diagnostic(
      JSON.stringify({
        acknowledged: run.acknowledgedCount,
        residentMib: Math.round(residentBytes / 2 ** 20),
      }),
    );
  });

  it("answers all that needs no disk while the device hangs, and goes on when it comes back", async (t) => {
    if (!requireFailingDisk(t, "ext4", "have a device that hangs")) return;
    await CleanUps.around(async (cleanUps) => {
      const disk = await FailingDisk.make(cleanUps, { fileSystem: "ext4", sizeMib: SIZE_MIB.ext4 });
      const home = disk.makeHome();
      const run = new FaultRun(cleanUps, {
        seed: testSeed,
        meetsFaults: true,
        storeDirectory: home,
      });
      const engine = await run.startLoaded({ answers: ANSWERS });
      await run.startProducers(engine);
      await untilBallast(home);
      disk.hang();
      let slowestMs = 0;
      for (let round = 0; round < 20; round++) {
        await after(100);
        slowestMs = Math.max(slowestMs, await answerMs(engine));
      }
      assert.ok(slowestMs < 1000, `the main thread was away for ${slowestMs} ms`);
      const [flushed] = run.producers;
      const waiting = flushed!.acknowledgedCount;
      await after(300);
      assert.equal(flushed!.acknowledgedCount, waiting, "acknowledged while nothing could be synced");
      disk.resume();
      await run.untilAcknowledged({ answers: ANSWERS });
      await run.drain();
      await run.check(engine);
      await engine.stop();
      t.diagnostic(JSON.stringify({ slowestMs: Math.round(slowestMs) }));
    });
  });

  it("that hangs keeps a killed process, and the next one has every acknowledged message", async (t) => {
    if (!requireFailingDisk(t, "ext4", "have a device that hangs")) return;
    await CleanUps.around(async (cleanUps) => {
      const disk = await FailingDisk.make(cleanUps, { fileSystem: "ext4", sizeMib: SIZE_MIB.ext4 });
      const run = new FaultRun(cleanUps, { seed: testSeed, storeDirectory: disk.makeHome() });
      const engine = await run.startLoaded({ answers: ANSWERS });
      await run.startProducers(engine);
      disk.hang();
      await after(500);
      const killed = engine.kill();
      const isEnded = await Promise.race([killed.then(() => true), after(500).then(() => false)]);
      disk.resume();
      await killed;
      await run.ended();
      await run.check(await run.start());
      // Nothing that ends a thread ends one that waits for its device; who relies on that waits too.
      t.diagnostic(JSON.stringify({ endedBeforeTheDeviceAnswered: isEnded }));
    });
  });

  it("that hangs for a minute is told of, gives up its port, and is served again when it answers", async (t) => {
    if (!isSoak) {
      t.skip("takes a minute: in a soak only (npm run soak)");
      return;
    }
    if (!requireFailingDisk(t, "ext4", "have a device that hangs")) return;
    await CleanUps.around(async (cleanUps) => {
      const disk = await FailingDisk.make(cleanUps, { fileSystem: "ext4", sizeMib: SIZE_MIB.ext4 });
      const home = disk.makeHome();
      const run = new FaultRun(cleanUps, {
        seed: testSeed,
        streams: [plainAndFlushed[0]!],
        meetsFaults: true,
        storeDirectory: home,
      });
      const engine = await run.startLoaded({ answers: ANSWERS });
      const { port } = engine;
      await run.startProducers(engine);
      await untilBallast(home);
      disk.hang();
      const hungMs = performance.now();
      let degradedMs: number | undefined;
      let goneMs: number | undefined;
      while (goneMs === undefined) {
        assert.ok(performance.now() - hungMs < 60_000, "the port is still served after a minute");
        await after(250);
        try {
          const text = await (await fetch(`http://127.0.0.1:${port}/readyz`)).text();
          if (text.includes("storage-degraded")) degradedMs ??= performance.now() - hungMs;
        } catch {
          goneMs = performance.now() - hungMs;
        }
      }
      await run.ended();
      assert.ok(run.unknownCount > 0, "whoever waited was told before the connection ended");
      disk.resume();
      const resumedMs = performance.now();
      while (!(await isReady(port))) {
        assert.ok(performance.now() - resumedMs < 30_000, "not served again");
        await after(100);
      }
      const backMs = performance.now() - resumedMs;
      await run.loadAcknowledged(engine, { answers: ANSWERS });
      await run.check(engine);
      await engine.stop();
      t.diagnostic(
        JSON.stringify({
          degradedMs: Math.round(degradedMs ?? -1),
          goneMs: Math.round(goneMs),
          backMs: Math.round(backMs),
        }),
      );
      assert.ok(degradedMs !== undefined, "nobody was told");
    });
  });
});

async function isReady(port: number): Promise<boolean> {
  try {
    return (await fetch(`http://127.0.0.1:${port}/readyz`)).ok;
  } catch {
    return false;
  }
}
