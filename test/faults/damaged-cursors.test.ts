import assert from "node:assert/strict";
import {
  copyFileSync,
  cpSync,
  readFileSync,
  readdirSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import path from "node:path";
import { describe, it, type TestContext } from "node:test";
import { setTimeout as after } from "node:timers/promises";
import { CURSOR_SYNC_INTERVAL_MS } from "../../src/core/limits.ts";
import { EngineProcess, temporaryDirectory } from "../support/engine-process.ts";
import { withClient } from "./fault-run.ts";
import {
  appendExported,
  arrivedCounters,
  exportedPayload,
  exportedStream,
  hasAllOf,
  startKinesis,
} from "./exported-streams.ts";

const options = { timeout: 300_000 };
const MESSAGES = 40;
const MORE = 5;
const SLOT_BYTES = 4096;
const UNTOUCHED = "exported-untouched";
const ROLLED = "exported-rolled";

const damages: Record<string, (file: string, other: string) => void> = {
  "first-slot": (file) => flip(file, 0),
  "second-slot": (file) => flip(file, SLOT_BYTES),
  "both-slots": (file) => {
    flip(file, 0);
    flip(file, SLOT_BYTES);
  },
  empty: (file) => truncateSync(file, 0),
  "half-a-slot": (file) => truncateSync(file, SLOT_BYTES / 2),
  missing: (file) => rmSync(file),
  "from-another-stream": (file, other) => copyFileSync(other, file),
};

function flip(file: string, slotAt: number): void {
  const bytes = readFileSync(file);
  if (bytes.length > slotAt + 40) bytes[slotAt + 30]! ^= 4;
  writeFileSync(file, bytes);
}

/** The directory of each stream, by its name. */
function directoriesOf(store: string): Map<string, string> {
  const streams = path.join(store, "streams");
  return new Map(
    readdirSync(streams).map((id) => {
      const text = readFileSync(path.join(streams, id, "definition"), "latin1");
      const name = /exported-[a-z-]+/.exec(text)![0];
      return [name, path.join(streams, id)];
    }),
  );
}

function cursorOf(directory: string): string {
  const exporters = path.join(directory, "exporters");
  return path.join(
    exporters,
    readdirSync(exporters).find((name) => name.endsWith(".cursor"))!,
  );
}

describe("an exporter whose cursor was damaged", options, () => {
  it("sends again what it cannot know, and leaves nothing out", async (t) => {
    const { kinesis, kinesisEnv } = await startKinesis(t);
    const storeDirectory = temporaryDirectory(t);
    const names = [UNTOUCHED, ...Object.keys(damages).map((name) => `exported-${name}`)];
    const first = await EngineProcess.start(t, { env: kinesisEnv, storeDirectory });
    await withClient(first, async (client) => {
      for (const name of names) await client.createMessageStream(exportedStream(name));
      // A slot is left alone until the other one was synced, so that it takes some syncs until both are in use.
      for (let from = 0; from < MESSAGES; from += MESSAGES / 4) {
        const to = from + MESSAGES / 4;
        for (const name of names) await appendExported(client, name, { from, to });
        await kinesis.until(() => names.every((name) => hasAllOf(kinesis, name, to)));
        await after(CURSOR_SYNC_INTERVAL_MS);
      }
    });
    await first.stop();
    for (const name of names)
      assert.deepEqual(
        arrivedCounters(kinesis, name),
        Array.from({ length: MESSAGES }, (_, at) => at),
      );
    const directories = directoriesOf(path.join(storeDirectory, "store"));
    for (const [name, damage] of Object.entries(damages))
      damage(cursorOf(directories.get(`exported-${name}`)!), cursorOf(directories.get(UNTOUCHED)!));

    const second = await EngineProcess.start(t, { env: kinesisEnv, storeDirectory });
    await withClient(second, async (client) => {
      for (const name of names) await appendExported(client, name, { from: MESSAGES, to: MESSAGES + MORE });
    });
    await kinesis.until(() => names.every((name) => hasAllOf(kinesis, name, MESSAGES + MORE)));
    await second.stop();
    for (const name of names) {
      // Duplicates are allowed, but in order: a pass from some place on to the end.
      const arrived = arrivedCounters(kinesis, name);
      const again = arrived.slice(MESSAGES);
      assert.deepEqual(
        again,
        Array.from({ length: again.length }, (_, at) => again[0]! + at),
        name,
      );
      assert.equal(again.at(-1), MESSAGES + MORE - 1);
      if (name === UNTOUCHED) assert.equal(again[0], MESSAGES);
      if (name === "exported-from-another-stream")
        assert.equal(again[0], 0, `${name} began with the other's place`);
      // One slot that holds is enough to know all but the last batch.
      if (name.endsWith("-slot") && !name.includes("half"))
        assert.ok(again[0]! > 0, `${name} began at the start`);
    }
  });
});

/** A store with an exported stream, each life of whose engine appends, and sends, so many messages more. */
async function startRolled(t: TestContext) {
  const storeDirectory = temporaryDirectory(t);
  const copy = temporaryDirectory(t);
  const { kinesis, kinesisEnv: env } = await startKinesis(t);
  const start = (): Promise<EngineProcess> => EngineProcess.start(t, { env, storeDirectory });
  const live = async ({ from, to }: { from: number; to: number }): Promise<void> => {
    const engine = await start();
    await withClient(engine, async (client) => {
      if (from === 0) await client.createMessageStream(exportedStream(ROLLED));
      await appendExported(client, ROLLED, { from, to });
    });
    await kinesis.until(() => hasAllOf(kinesis, ROLLED, to));
    await engine.stop();
  };
  return { store: path.join(storeDirectory, "store"), copy, kinesis, start, live };
}

describe("a store that was rolled back", options, () => {
  it("to an older copy of all of it serves that copy, and sends what comes after it", async (t) => {
    const { store, copy, kinesis, start, live } = await startRolled(t);
    await live({ from: 0, to: MESSAGES });
    cpSync(store, copy, { recursive: true, filter: (source) => !source.endsWith(".sock") });
    await live({ from: MESSAGES, to: 2 * MESSAGES });
    rmSync(store, { recursive: true });
    cpSync(copy, store, { recursive: true });
    const third = await start();
    await withClient(third, async (client) => {
      const { storageStatus } = await client.describeMessageStream(ROLLED);
      assert.equal(storageStatus.newestSequenceNumber, MESSAGES - 1);
      assert.equal(await appendExported(client, ROLLED, { from: 200, to: 200 + MORE }), MESSAGES);
    });
    // What comes after the copy is sent, whatever was sent in its future.
    await kinesis.until(() => arrivedCounters(kinesis, ROLLED).includes(200 + MORE - 1));
    await third.stop();
  });

  it("to older segments than its cursor has seen says what is lost, and gives no number twice", async (t) => {
    const { store, copy, kinesis, start, live } = await startRolled(t);
    await live({ from: 0, to: MESSAGES });
    const directory = directoriesOf(store).get(ROLLED)!;
    const isSegment = (file: string): boolean => file.endsWith(".lz4");
    cpSync(directory, copy, { recursive: true });
    await live({ from: MESSAGES, to: 2 * MESSAGES });
    for (const file of readdirSync(directory).filter(isSegment)) rmSync(path.join(directory, file));
    for (const file of readdirSync(copy).filter(isSegment))
      cpSync(path.join(copy, file), path.join(directory, file));

    const third = await start();
    await withClient(third, async (client) => {
      assert.equal(await appendExported(client, ROLLED, { from: 200, to: 200 + MORE }), 2 * MESSAGES);
      const messages = await client.readMessages(ROLLED, {
        desiredStartSequenceNumber: MESSAGES,
        minMessageCount: MORE,
        maxMessageCount: 100,
      });
      assert.deepEqual(
        messages.map(({ sequenceNumber, payload }) => [sequenceNumber, Buffer.from(payload).toString()]),
        Array.from({ length: MORE }, (_, at) => [2 * MESSAGES + at, exportedPayload(ROLLED, 200 + at)]),
      );
    });
    await kinesis.until(() => arrivedCounters(kinesis, ROLLED).includes(200 + MORE - 1));
    const { stderr } = await third.stop();
    assert.match(stderr, new RegExp(`lost acknowledged messages ${MESSAGES} to ${2 * MESSAGES - 1}`));
  });
});
