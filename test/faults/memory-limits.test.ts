import assert from "node:assert/strict";
import { randomFillSync } from "node:crypto";
import { readFileSync } from "node:fs";
import { describe, it } from "node:test";
import { setTimeout as after } from "node:timers/promises";
import { ExportFormat, MillraceClient, StrategyOnFull } from "../../src/client/index.ts";
import { CleanUps } from "../support/clean-ups.ts";
import { EngineProcess, temporaryDirectory } from "../support/engine-process.ts";
import { HttpTarget } from "../support/http-target.ts";
import { MemoryGroup } from "../support/memory-group.ts";
import { FailingDisk, requireFailingDisk } from "../support/test-disk.ts";
import { byLength } from "../support/test-length.ts";

const MIB = 1024 * 1024;
const timeout = 300_000;
/** Half of it with the link down, half with it up. */
const PRODUCE_MS = byLength({ everyday: 4000, long: 60_000 });
const DISK_MIB = byLength({ everyday: 512, long: 2048 });
const DISK_BYTES_PER_SECOND = 16 * MIB;
/** Bytes that do not compress, so that the disk and not the processor is what holds everything up. */
const PAYLOAD_BYTES = 1024;
const EXPORTED_MIN = 1000;
const STREAMS = ["exported", "flushed"] as const;

interface Limited {
  readonly engine: EngineProcess;
  /** Undefined where no control group can be made. */
  readonly group: MemoryGroup | undefined;
  readonly target: HttpTarget;
}

async function startLimited(
  t: CleanUps,
  given: { limitBytes: number; profile: string; note: (text: string) => void },
): Promise<Limited> {
  const { limitBytes, profile, note } = given;
  const disk = await FailingDisk.make(t, {
    fileSystem: "ext4",
    sizeMib: DISK_MIB,
    bytesPerSecond: DISK_BYTES_PER_SECOND,
  });
  const made = MemoryGroup.make(t, limitBytes);
  const group = typeof made === "string" ? undefined : made;
  if (typeof made === "string") note(`${made}; the memory of the process is measured instead`);
  const target = await HttpTarget.start();
  t.after(() => target.close());
  const env = {
    MILLRACE_PROFILE: profile,
    MILLRACE_EXPORT_HTTP_INWARD: `127.0.0.1:${target.port}`,
    LOG_LEVEL: "error",
  };
  const nodePath = group?.nodeWithin(temporaryDirectory(t));
  const options = { env, ...(nodePath !== undefined && { nodePath }) };
  const engine = await EngineProcess.start(t, { ...options, storeDirectory: disk.makeHome() });
  return { engine, group, target };
}

async function connect(t: CleanUps, { port, token }: EngineProcess): Promise<MillraceClient> {
  const client = await MillraceClient.connect({ url: `ws://127.0.0.1:${port}`, ...(token && { token }) });
  t.after(() => client.close());
  return client;
}

/** Appends as fast as the engine takes it until it is told to end. @returns how many messages were acknowledged, all of them */
async function produce(client: MillraceClient, stream: string, work: { isOver: boolean }): Promise<number> {
  const producer = await client.producer(stream);
  const payload = randomFillSync(Buffer.alloc(PAYLOAD_BYTES));
  let count = 0;
  while (!work.isOver) {
    // Where it stands decides what follows it, so that no two messages are alike.
    randomFillSync(payload, 8);
    payload.writeDoubleLE(count++);
    const taken = producer.append(payload);
    if (taken) await taken;
  }
  await producer.close();
  assert.equal(producer.counters.acknowledged, count);
  return count;
}

/** Reads from the oldest message on and again, as long as it goes on. */
async function readOn(client: MillraceClient, stream: string, isOver: () => boolean): Promise<void> {
  while (!isOver()) {
    let expected = 0;
    for await (const { sequence, payload } of await client.subscribe(stream, { from: 0 })) {
      assert.equal(sequence, expected);
      assert.equal(Buffer.from(payload).readDoubleLE(), expected++);
      if (isOver() || expected % 20_000 === 0) break;
    }
  }
}

async function assertAllThere(client: MillraceClient, stream: string, count: number): Promise<void> {
  let expected = 0;
  for await (const { sequence, payload } of await client.subscribe(stream, { from: 0 })) {
    assert.equal(sequence, expected);
    assert.equal(payload.length, PAYLOAD_BYTES);
    assert.equal(Buffer.from(payload).readDoubleLE(), expected++);
    if (expected === count) return;
  }
}

/** A link that is down, then up, while producers and readers go on at full rate in front of a slow disk. */
async function live(t: CleanUps, { engine, target }: Limited): Promise<string> {
  const client = await connect(t, engine);
  const sizes = { maxSize: DISK_MIB * MIB, streamSegmentSize: 16 * MIB };
  for (const name of STREAMS) {
    const strategyOnFull = StrategyOnFull.RejectNewData;
    await client.createMessageStream({ name, strategyOnFull, flushOnWrite: name === "flushed", ...sizes });
  }
  await target.close();
  const http = [
    { identifier: "collector", uri: target.origin, exportFormat: ExportFormat.JSON_BATCHED, batchSize: 100 },
  ];
  await client.updateMessageStream({
    name: "exported",
    strategyOnFull: StrategyOnFull.RejectNewData,
    ...sizes,
    exportDefinition: { http },
  });
  const work = { isOver: false };
  const producing = STREAMS.map(async (name) => produce(await connect(t, engine), name, work));
  const reading = STREAMS.map(async (name) => readOn(await connect(t, engine), name, () => work.isOver));
  // What fails of them ends the test at once.
  const failing = Promise.all([...producing, ...reading]);
  await Promise.race([failing, after(PRODUCE_MS / 2)]);
  await target.listen();
  await client.retryExports("exported");
  await Promise.race([failing, after(PRODUCE_MS / 2)]);
  work.isOver = true;
  const counts = await Promise.all(producing);
  await Promise.all(reading);
  for (const [index, name] of STREAMS.entries()) await assertAllThere(client, name, counts[index]!);
  const exported = (): number => target.stored.reduce((sum, { body }) => sum + countOf(body), 0);
  while (exported() < Math.min(EXPORTED_MIN, counts[0]!)) await after(50);
  const mib = counts.map((count) => ((count * PAYLOAD_BYTES) / MIB).toFixed(0));
  return `${mib.join(" and ")} MiB acknowledged and read again, ${exported()} messages exported`;
}

function countOf(body: Buffer): number {
  return (JSON.parse(body.toString()) as unknown[]).length;
}

describe("an engine that has little memory, a slow disk, and everything to do", () => {
  for (const { mib, profile } of [
    { mib: 256, profile: "small" },
    { mib: 1024, profile: "standard" },
  ]) {
    it(`is not killed in ${mib} MiB (profile ${profile}), and loses nothing`, { timeout }, async (t) => {
      if (!requireFailingDisk(t, "ext4", "have a slow disk")) return;
      const note = (text: string): void => t.diagnostic(text);
      await CleanUps.around(async (cleanUps) => {
        const limited = await startLimited(cleanUps, { limitBytes: mib * MIB, profile, note });
        const { engine, group } = limited;
        note(await live(cleanUps, limited));
        const status = readFileSync(`/proc/${String(engine.serve.child.pid)}/status`, "latin1");
        const residentMib = Number(/^VmHWM:\s*(\d+) kB$/m.exec(status)![1]) / 1024;
        const peakBytes = group?.peakBytes;
        const peak = peakBytes === undefined ? "" : `, ${Math.round(peakBytes / MIB)} MiB with page cache`;
        note(`at most ${Math.round(residentMib)} MiB resident${peak}`);
        assert.equal(group?.killCount ?? 0, 0);
        assert.ok(residentMib < mib);
        assert.equal((await engine.stop()).code, 0);
      });
    });
  }
});
