import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { streamOptionsDefault } from "../../src/core/stream-options.ts";
import { writeDurableFile } from "../../src/log/durable-file.ts";
import { StreamLog } from "../../src/log/stream-log.ts";
import { definitionPath, encodeDefinition } from "../../src/stream/definition-file.ts";
import { openStoreDirectory } from "../../src/stream/store-directory.ts";
import { blockOf, costOf, logOptions, readAll, STREAM_ID } from "../support/log-fixture.ts";
import { crashStates, type Fault, SimStorage } from "../support/sim-storage.ts";
import { definitionWith } from "../support/stream-fixture.ts";

const STORE = "/store";
const STREAMS = `${STORE}/streams`;
const OTHER_ID = "0bad".repeat(8);
const MESSAGE_COUNT = 12;
const crash = { random: () => 0.5, randomSubsets: 3, garbleBytes: 4096 };

function makeStream(storage: SimStorage, streamId: string): StreamLog {
  const directory = `${STREAMS}/${streamId}`;
  const log = StreamLog.create(logOptions(storage, { directory, streamId }));
  const definition = { ...definitionWith([]), name: streamId };
  writeDurableFile(
    storage,
    definitionPath(directory),
    encodeDefinition({ definition, options: streamOptionsDefault }, directory),
  );
  for (let number = 0; number < MESSAGE_COUNT; number++) {
    const block = blockOf([textOf(number)]);
    log.admit(costOf(block));
    log.append(block);
    log.sync((error) => assert.equal(error, undefined));
    storage.completeSyncs();
  }
  return log;
}

function textOf(number: number): string {
  return `message ${number} ${Buffer.alloc(600, number).toString("hex")}`;
}

/** A store with the stream that is deleted and one that is not; quarantine/ stands for what else may lie in a stream. */
function storeOfTwo(faults: Record<string, Fault> = {}): { storage: SimStorage; log: StreamLog } {
  const storage = new SimStorage({ faults: new Map(Object.entries(faults)) });
  storage.makeDirectory(STORE);
  storage.syncDirectory("/");
  openStoreDirectory({ storage, storeDirectory: STORE });
  makeStream(storage, OTHER_ID).close();
  const log = makeStream(storage, STREAM_ID);
  storage.makeDirectory(`${STREAMS}/${STREAM_ID}/quarantine`);
  storage.put(`${STREAMS}/${STREAM_ID}/quarantine/tail`, Buffer.from("torn"));
  return { storage, log };
}

/** Starts on what is left. @returns whether the stream is there; it is whole then, and otherwise nothing of it is left */
function startOn(storage: SimStorage, at: string): boolean {
  const { streams, fenced } = openStoreDirectory({ storage, storeDirectory: STORE });
  assert.deepEqual(fenced, [], at);
  const ids = streams.map(({ streamId }) => streamId);
  assert.ok(ids.includes(OTHER_ID), `${at}: the other stream is gone`);
  const names = storage.list(STREAMS).map(({ name }) => name);
  assert.deepEqual(names.sort(), ids.sort(), at);
  for (const { directory, streamId } of streams) {
    const { log } = StreamLog.open(logOptions(storage, { directory, streamId, epoch: 2 }));
    const { messages, gaps } = readAll(log, 0, MESSAGE_COUNT);
    assert.equal(log.nextSequence, MESSAGE_COUNT, at);
    assert.deepEqual(gaps, [], at);
    for (const [number, text] of messages) assert.equal(text, textOf(number), at);
    log.close();
  }
  return ids.includes(STREAM_ID);
}

describe("StreamLog.destroy", () => {
  it("leaves a whole stream or none to the next start, wherever a crash cuts it or that start short", () => {
    const { storage, log } = storeOfTwo();
    const before = storage.operations.length;
    log.destroy();
    const operations = storage.operations.slice(before).map(({ kind }) => kind);
    assert.deepEqual(operations.slice(0, 2), ["rename", "syncDirectory"]);
    assert.ok(operations.filter((kind) => kind === "unlink").length > 3, operations.join());
    let states = 0;
    const outcomes = new Map<boolean, number>();
    for (let operation = before - 1; operation < storage.operations.length; operation++) {
      for (const state of crashStates(storage, operation, crash)) {
        const at = `operation ${operation - before}, ${state.label}`;
        const again = state.storage.copy();
        const isThere = startOn(state.storage, at);
        outcomes.set(isThere, (outcomes.get(isThere) ?? 0) + 1);
        if (operation < before) assert.ok(isThere, at);
        // The directory's sync is the moment from which the stream must stay away.
        if (operation > before) assert.ok(!isThere, at);
        states += 1;
        if (states % 120 !== 0) continue;
        openStoreDirectory({ storage: again, storeDirectory: STORE });
        for (let second = 0; second < again.operations.length; second++) {
          for (const cut of crashStates(again, second, { ...crash, randomSubsets: 0, garbleBytes: 0 })) {
            const isThereNow = startOn(cut.storage, `${at}, start cut at ${second}, ${cut.label}`);
            assert.equal(isThereNow, isThere, at);
          }
        }
      }
    }
    assert.ok(
      (outcomes.get(true) ?? 0) > 0 && (outcomes.get(false) ?? 0) > 20,
      JSON.stringify([...outcomes]),
    );
  });

  it("leaves a whole stream or none when any of its calls fails", () => {
    const sound = storeOfTwo();
    const callsBefore = sound.storage.operations.length;
    sound.log.destroy();
    const calls = sound.storage.operations.length - callsBefore;
    for (let call = 1; call <= calls; call++) {
      const { storage, log } = storeOfTwo({ [`any@${callsBefore + call}`]: { code: "EIO" } });
      assert.throws(() => log.destroy(), { code: "EIO" });
      assert.equal(storage.faultCount, 1);
      const isThere = startOn(storage.copy(), `call ${call} failed`);
      assert.equal(isThere, call === 1);
    }
  });
});

describe("removeDeletedStreams", () => {
  it("lets the other streams start when the rest of a deleted one cannot be removed", () => {
    const { storage, log } = storeOfTwo({ "removeDirectory@*": { code: "EIO" } });
    assert.throws(() => log.destroy(), { code: "EIO" });
    const { streams } = openStoreDirectory({ storage, storeDirectory: STORE });
    assert.deepEqual(
      streams.map(({ streamId }) => streamId),
      [OTHER_ID],
    );
    storage.heal();
    assert.equal(startOn(storage, "after the storage has healed"), false);
  });
});
