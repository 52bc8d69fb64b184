import assert from "node:assert/strict";
import { test } from "node:test";
import { LossReason, STREAM_START } from "../../src/core/stream-ledger.ts";
import { streamOptionsDefault } from "../../src/core/stream-options.ts";
import { AccountKeeper } from "../../src/export/account-keeper.ts";
import { newCursor, type CursorRecord } from "../../src/export/cursor-layout.ts";
import type { BatchResult } from "../../src/export/export-channel.ts";
import { Exporter } from "../../src/export/exporter.ts";
import { exporterSettingsOf } from "../../src/export/exporter-settings.ts";
import { SetAsideKeeper } from "../../src/export/set-aside-keeper.ts";
import { ManualClock } from "../support/deterministic.ts";
import { definitionWith } from "../support/stream-fixture.ts";

function setUp() {
  const stored: number[] = [];
  const keeper = new SetAsideKeeper({
    clock: new ManualClock(),
    keep: ({ messages }) => {
      const kept = messages.map(({ sequence }) => sequence);
      stored.push(...kept);
      return Promise.resolve({ streamName: "s.set-aside", kept, error: "" });
    },
  });
  const place = { sequence: 100, payloadOffset: 1000 };
  const stream = {
    ...{ streamId: "s", name: "s", directory: "/nowhere", isMemory: false, drops: () => [] },
    ...{ oldest: STREAM_START, syncedEnd: place, next: place },
  };
  const definition = definitionWith([{ identifier: "k", kinesisStreamName: "k" }]);
  const [settings] = exporterSettingsOf(definition, streamOptionsDefault);
  return { keeper, exporter: new Exporter(stream, settings!, undefined), stored };
}

/** A task that condemned the message at 5 of a batch that ends at 10, or one that came to nothing. */
function resultAt(cursor: CursorRecord, { isCondemned }: { isCondemned: boolean }): BatchResult {
  const entry = { sequence: 5, bytes: 10, fate: "condemned", refusals: 1 } as const;
  const end = { sequence: 10, payloadOffset: 100 };
  const message = { sequence: 5, sequenceNumber: 5, ingestTimeMs: 1, attempts: 1, error: "no" };
  return {
    ...{ kind: "batch", cursor, outcome: { kind: "passed" }, file: undefined, cursorError: "" },
    isStartSettled: false,
    pending: isCondemned ? { end, entries: [entry], gaps: [], suspects: 0, acceptances: 1 } : undefined,
    condemned: isCondemned ? [{ ...message, payload: Buffer.from("bad") }] : [],
  };
}

function at(before: CursorRecord, position: number): CursorRecord {
  const account = new AccountKeeper(before);
  const place = { sequence: position, payloadOffset: 10 * position };
  if (position < before.position) account.rewind(place);
  else {
    const messages = position - before.position;
    account.accept({ messages, payloadBytes: 10 * messages }, 1);
  }
  return account.cursor;
}

test("SetAsideKeeper stores a message once while its batch is judged again and again", async () => {
  const { keeper, exporter, stored } = setUp();
  const cursor = at(newCursor(0), 3);
  for (let time = 0; time < 3; time += 1) {
    const { pending, told } = await keeper.settle(exporter, resultAt(cursor, { isCondemned: true }));
    assert.deepEqual(told?.sequences, time === 0 ? [5] : []);
    assert.equal(pending?.entries[0]?.fate, LossReason.SetAside);
  }
  assert.deepEqual(stored, [5]);
});

test("SetAsideKeeper stores a message again that is refused again behind a start that moved back", async () => {
  for (const passed of [true, false]) {
    const { keeper, exporter, stored } = setUp();
    let cursor = at(newCursor(0), 5);
    await keeper.settle(exporter, resultAt(cursor, { isCondemned: true }));
    // Whether or not the position had passed it.
    if (passed) {
      cursor = at(cursor, 10);
      await keeper.settle(exporter, resultAt(cursor, { isCondemned: false }));
    }
    cursor = at(cursor, 2);
    const { told } = await keeper.settle(exporter, resultAt(cursor, { isCondemned: true }));
    assert.deepEqual([stored, told?.sequences], [[5, 5], [5]], `passed: ${passed}`);
  }
});
