import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import path from "node:path";
import { describe, it } from "node:test";
import { setTimeout as after } from "node:timers/promises";
import { StrategyOnFull } from "../../src/core/stream-definition.ts";
import { CleanUps } from "../support/clean-ups.ts";
import { EngineProcess } from "../support/engine-process.ts";
import { requireProgram } from "../support/require-program.ts";
import { testSeed } from "../support/seeded-random.ts";
import { requireDisk, requireMounts, TestDisk } from "../support/test-disk.ts";
import {
  appendExported,
  arrivedCounters,
  exportedStream,
  hasAllOf,
  startKinesis,
} from "./exported-streams.ts";
import { FaultRun, plainAndFlushed, withClient } from "./fault-run.ts";
import { untilBallast } from "./until-ballast.ts";

const options = { timeout: 600_000 };
const MIB = 1024 * 1024;
const ANSWERS = 20;
/** Room for twice the ballast, without which it is not made, and little more. */
const DISK_BYTES = 24 * MIB;
const TICKS_PER_SECOND = 100;

/** Fills what is left of a disk, as another program would. @returns the file to remove */
async function fill(disk: TestDisk, { leaveBytes }: { leaveBytes: number }): Promise<string> {
  const file = path.join(disk.directory, "filler");
  await untilBallast(path.join(disk.directory, "home"));
  const line = execFileSync("df", ["--output=avail", "-B1", disk.directory], { encoding: "utf8" });
  const freeBytes = Number(line.trim().split("\n").at(-1));
  execFileSync("fallocate", ["-l", String(Math.max(1, freeBytes - leaveBytes)), file]);
  return file;
}

/** Processor seconds that a process has used. */
function cpuSeconds(engine: EngineProcess): number {
  const fields = readFileSync(`/proc/${engine.serve.child.pid!}/stat`, "utf8").split(") ")[1]!.split(" ");
  return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND;
}

describe("an engine on a full disk", options, () => {
  for (const kind of ["tmpfs", "ext4"] as const) {
    it(`refuses what does not fit on ${kind}, and goes on when there is room again`, async (t) => {
      const why = "have a disk that is full";
      if (!requireProgram(t, "fallocate", why)) return;
      if (!(kind === "tmpfs" ? requireMounts(t, why) : requireDisk(t, kind, why))) return;
      await CleanUps.around(async (cleanUps) => {
        const disk =
          kind === "tmpfs" ? TestDisk.tmpfs(cleanUps, DISK_BYTES) : TestDisk.onLoop(cleanUps, kind, 40);
        const run = new FaultRun(cleanUps, {
          seed: testSeed,
          meetsFaults: true,
          storeDirectory: disk.makeHome(),
        });
        const engine = await run.startLoaded({ answers: ANSWERS });
        const filler = await fill(disk, { leaveBytes: 200_000 });
        await run.loadUntil(engine, ({ failureTexts }) => failureTexts.size > 0);
        const texts = new Set(run.producers.flatMap(({ failureTexts }) => [...failureTexts]));
        for (const text of texts) assert.match(text, /is full|^unknown outcome: retry/);
        await run.check(engine, { hint: "on the full disk" });
        rmSync(filler);
        await run.loadAcknowledged(engine, { answers: ANSWERS });
        await run.check(engine, { hint: "with room again" });
        await engine.kill();
        await run.check(await run.start(), { hint: "after the kill" });
        t.diagnostic(JSON.stringify({ rejected: run.rejectedCount, unknown: run.unknownCount }));
      });
    });
  }

  it("starts on it, and serves what is stored", async (t) => {
    const why = "have a disk that is full";
    if (!requireProgram(t, "fallocate", why) || !requireMounts(t, why)) return;
    await CleanUps.around(async (cleanUps) => {
      const disk = TestDisk.tmpfs(cleanUps, DISK_BYTES);
      const run = new FaultRun(cleanUps, {
        seed: testSeed,
        meetsFaults: true,
        storeDirectory: disk.makeHome(),
      });
      const engine = await run.startLoaded({ answers: ANSWERS });
      const filler = await fill(disk, { leaveBytes: 0 });
      await engine.kill();
      const second = await run.start();
      await run.check(second, { hint: "started on the full disk" });
      rmSync(filler);
      await run.loadAcknowledged(second, { answers: ANSWERS });
      await run.check(second);
      await second.stop();
    });
  });

  it("starts on it without a ballast, serves what is stored, and takes messages once a stream is deleted", async (t) => {
    const why = "have a disk that is full";
    if (!requireProgram(t, "fallocate", why) || !requireMounts(t, why)) return;
    await CleanUps.around(async (cleanUps) => {
      const disk = TestDisk.tmpfs(cleanUps, DISK_BYTES);
      const run = new FaultRun(cleanUps, {
        seed: testSeed,
        meetsFaults: true,
        storeDirectory: disk.makeHome(),
      });
      const engine = await run.start();
      await run.createStreams(engine);
      await withClient(engine, async (client) => {
        await client.createMessageStream({ name: "ballast", strategyOnFull: StrategyOnFull.RejectNewData });
        for (let count = 0; count < 8; count++)
          await client.appendMessage("ballast", randomBytes(512 * 1024));
      });
      await run.load(engine, { answers: ANSWERS });
      await fill(disk, { leaveBytes: 0 });
      await engine.kill();
      const { size } = statSync(path.join(disk.directory, "home", "store", "ballast"));
      rmSync(path.join(disk.directory, "home", "store", "ballast"));
      execFileSync("fallocate", ["-l", String(size), path.join(disk.directory, "filler-2")]);
      assert.throws(() => writeFileSync(path.join(disk.directory, "more"), "x"), { code: "ENOSPC" });
      rmSync(path.join(disk.directory, "more"));
      // Twice, and the second time after a clean end, which is told in the store as well.
      for (const hint of ["after a kill", "after a clean end"]) {
        const second = await run.start();
        await run.check(second, { hint: `started on the full disk ${hint}` });
        await run.loadUntil(second, ({ failureTexts }) => failureTexts.size > 0);
        const texts = new Set(run.producers.flatMap(({ failureTexts }) => [...failureTexts]));
        for (const text of texts) assert.match(text, /is full|^unknown outcome: retry/);
        assert.equal((await second.stop()).code, 0, hint);
      }
      const third = await run.start();
      await withClient(third, async (client) => {
        assert.equal((await client.describeStream("plain")).lastUncleanEnd?.epoch, 1 + 1);
        await client.deleteMessageStream("ballast");
      });
      await run.loadAcknowledged(third, { answers: ANSWERS });
      await run.check(third);
      await third.stop();
    });
  });

  it("that another program fills gives up its oldest messages where the stream says so, and does not spin", async (t) => {
    const why = "have a disk that is full";
    if (!requireProgram(t, "fallocate", why) || !requireMounts(t, why)) return;
    await CleanUps.around(async (cleanUps) => {
      const disk = TestDisk.tmpfs(cleanUps, DISK_BYTES);
      const streams = [
        {
          name: "overwritten",
          strategyOnFull: StrategyOnFull.OverwriteOldestData,
          streamSegmentSize: 64 * 1024,
          maxSize: 1024 * MIB,
          flushOnWrite: true,
        },
        plainAndFlushed[0]!,
      ];
      const run = new FaultRun(cleanUps, {
        seed: testSeed,
        streams,
        meetsFaults: true,
        storeDirectory: disk.makeHome(),
      });
      const engine = await run.start();
      await run.createStreams(engine);
      await run.loadAcknowledged(engine, { answers: 8 * ANSWERS });
      const filler = await fill(disk, { leaveBytes: 0 });
      const oldestOf = (): Promise<number> =>
        withClient(engine, async (client) => {
          const { storageStatus } = await client.describeMessageStream("overwritten");
          return storageStatus.oldestSequenceNumber;
        });
      assert.equal(await oldestOf(), 0);
      // Overwriting goes on for as long as there are old segments; the other stream has none to give.
      await run.startProducers(engine);
      await run.until(({ failureTexts }) => failureTexts.size > 0);
      assert.ok((await oldestOf()) > 0, "nothing was given up");
      const usedSeconds = cpuSeconds(engine);
      await run.drain();
      await after(2000);
      const idleShare = (cpuSeconds(engine) - usedSeconds) / 2;
      assert.ok(idleShare < 0.5, `${idleShare} of a core with nothing to do`);
      rmSync(filler);
      await run.loadAcknowledged(engine, { answers: ANSWERS });
      await run.check(engine);
      await engine.kill();
      await run.check(await run.start());
      t.diagnostic(JSON.stringify({ rejected: run.rejectedCount, idleShare }));
    });
  });

  it("goes on to export and keeps its place, so that a kill has little sent twice", async (t) => {
    const why = "have a disk that is full";
    if (!requireProgram(t, "fallocate", why) || !requireMounts(t, why)) return;
    await CleanUps.around(async (cleanUps) => {
      const disk = TestDisk.tmpfs(cleanUps, DISK_BYTES);
      const storeDirectory = disk.makeHome();
      const { kinesis, kinesisEnv: env } = await startKinesis(cleanUps);
      const count = 100;
      const engine = await EngineProcess.start(cleanUps, { env, storeDirectory });
      // Nothing is taken before the disk is full, so that every position is written on a full disk.
      kinesis.answer = () => ({ kind: "error", status: 500 });
      await withClient(engine, async (client) => {
        await client.createMessageStream(exportedStream("exported-full"));
        await appendExported(client, "exported-full", { from: 0, to: count });
      });
      const filler = await fill(disk, { leaveBytes: 0 });
      assert.notEqual(
        spawnSync("dd", ["if=/dev/zero", `of=${disk.directory}/more`, "bs=4096", "count=1"]).status,
        0,
      );
      kinesis.answer = () => ({ kind: "accept" });
      await kinesis.until(() => hasAllOf(kinesis, "exported-full", count));
      // The position is written behind the answer.
      await after(1500);
      await engine.kill();
      const sent = arrivedCounters(kinesis, "exported-full").length;
      assert.equal(sent, count);
      const second = await EngineProcess.start(cleanUps, { env, storeDirectory });
      // Exports go in order: when this one has arrived, whatever was sent again has too.
      rmSync(filler);
      await withClient(second, (client) =>
        appendExported(client, "exported-full", { from: count, to: count + 1 }),
      );
      await kinesis.until(() => hasAllOf(kinesis, "exported-full", count + 1));
      assert.equal(arrivedCounters(kinesis, "exported-full").length, sent + 1, "the position was forgotten");
      await second.stop();
    });
  });
});
