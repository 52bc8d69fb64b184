import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { CursorFile } from "../../src/export/cursor-file.ts";
import { isBalanced } from "../../src/export/cursor-layout.ts";
import { fileStorage } from "../../src/log/file-storage.ts";
import type { PutRequest } from "../support/fake-kinesis-server.ts";
import { payloadOf, SetAsideBench, STREAM } from "./set-aside-bench.ts";

const BATCH_SIZE = 5;
const BAD_COUNT = 24;

const refusal = { kind: "error", status: 400, type: "ValidationException" } as const;

/** One message is refused still. */
function isTaken({ data }: PutRequest): boolean {
  return !data.includes("bad 7");
}

/** What becomes of the request in which an engine is killed. */
const deaths = ["not stored", "stored and not answered", "answered"] as const;

test("a redrive that is killed again and again loses nothing, and sends at most one batch twice for each kill", async (t) => {
  const bench = await SetAsideBench.start(t);
  const kinesis = [{ identifier: "cloud", kinesisStreamName: STREAM, batchSize: BATCH_SIZE }];
  await bench.create(STREAM, {}, { exportDefinition: { kinesis } });
  const bad = Array.from({ length: BAD_COUNT }, (_, index) => `bad ${index}`);
  await bench.append(...bad.flatMap((text, index) => (index % 4 === 3 ? [text, `good ${index}`] : [text])));
  await bench.allSettled();
  assert.equal((await bench.entries()).length, BAD_COUNT);
  const delivered = (): string[] => bench.kinesis.storedIn(STREAM).filter((text) => text.startsWith("bad"));
  for (const death of deaths) {
    // One of the batches holds a message that is still refused, and goes by halves.
    let requests = 0;
    let killed: Promise<unknown> | undefined;
    let tell: () => void = () => undefined;
    const isKilled = new Promise<void>((resolve) => (tell = resolve));
    bench.kinesis.answer = async (request) => {
      requests += 1;
      if (requests > 2 && isTaken(request)) {
        const kill = (): void => {
          killed ??= bench.kill();
          tell();
        };
        if (death === "answered") setImmediate(kill);
        else {
          kill();
          await killed;
          return death === "not stored" ? { kind: "error", status: 500 } : { kind: "drop" };
        }
      }
      return isTaken(request) ? { kind: "accept" } : refusal;
    };
    const asked = await bench.client.redriveExports(STREAM);
    assert.equal(asked.exporters.length, 1, JSON.stringify(asked));
    await isKilled;
    await killed;
    bench.kinesis.answer = ({ data }) =>
      data.includes("bad 7")
        ? { kind: "error", status: 400, type: "ValidationException" }
        : { kind: "accept" };
    await bench.restart();
    const exporter = await bench.exporter();
    assert.deepEqual([exporter.exported.messages, exporter.setAside.messages], [BAD_COUNT / 4, BAD_COUNT]);
    // Each is delivered, or an entry is left from where the next redrive begins.
    const left = await leftToRedrive(bench);
    for (const text of bad) {
      assert.ok(delivered().includes(text) || left.includes(text), `${death}: ${text} is lost`);
    }
    const repeated = new Set(left.filter((text) => delivered().includes(text)));
    assert.ok(repeated.size <= BATCH_SIZE, `${death}: ${[...repeated].join()} would go again`);
  }
  bench.kinesis.answer = () => ({ kind: "accept" });
  await bench.client.redriveExports(STREAM);
  await bench.untilRedriven();
  assert.deepEqual([...new Set(delivered())].toSorted(), bad.toSorted());
  const duplicates = delivered().length - BAD_COUNT;
  t.diagnostic(`${deaths.length} kills, ${duplicates} messages twice`);
  assert.ok(
    duplicates <= deaths.length * BATCH_SIZE,
    `${duplicates} messages twice after ${deaths.length} kills`,
  );
  await bench.exporter();
  assert.deepEqual((await bench.client.redriveExports(STREAM)).exporters, []);
  await bench.engine.stop();
  for (const place of redriveCursors(bench.engine.storeDirectory)) {
    const file = new CursorFile(fileStorage, place);
    file.close();
    assert.ok(file.record !== undefined && isBalanced(file.record), JSON.stringify(file.record));
    assert.ok(file.record.accounts.exported.messages >= BAD_COUNT);
  }
});

/** The messages of entries that the last redrive has not passed. */
async function leftToRedrive(bench: SetAsideBench): Promise<string[]> {
  const [place] = redriveCursors(bench.engine.storeDirectory);
  const file = new CursorFile(fileStorage, place!);
  file.close();
  const { position = 0 } = file.record ?? {};
  return (await bench.entries()).slice(position).map(payloadOf);
}

function redriveCursors(storeDirectory: string): { streamDirectory: string; exporterId: string }[] {
  const names = readdirSync(storeDirectory, { recursive: true, encoding: "utf8" });
  const cursors = names.filter((name) => name.endsWith("-redrive.cursor"));
  assert.equal(cursors.length, 1);
  return cursors.map((name) => ({
    streamDirectory: path.join(storeDirectory, path.dirname(path.dirname(name))),
    exporterId: path.basename(name, ".cursor"),
  }));
}
