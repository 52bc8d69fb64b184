import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { STREAM_START } from "../../src/core/stream-ledger.ts";
import { CursorFile, exportedEnd } from "../../src/export/cursor-file.ts";
import { newCursor } from "../../src/export/cursor-layout.ts";
import type { ExportManager } from "../../src/export/export-manager.ts";
import { exporterSettingsOf } from "../../src/export/exporter-settings.ts";
import type { ExporterLedger } from "../../src/export/exporter-ledger.ts";
import { addsUp } from "../../src/export/live-account.ts";
import { fileStorage } from "../../src/log/file-storage.ts";
import { ExportBench, numbered } from "../support/export-bench.ts";
import { definitionWith } from "../support/stream-fixture.ts";
import { streamOptionsDefault } from "../../src/core/stream-options.ts";

const config = { identifier: "k", kinesisStreamName: "target", batchSize: 10 };

function ledgerOf(manager: ExportManager): ExporterLedger {
  const [ledger] = manager.ledgers("s");
  assert.ok(ledger !== undefined && addsUp(ledger), JSON.stringify(ledger));
  return ledger;
}

function bytesOf(texts: readonly string[]): { messages: number; payloadBytes: number } {
  return { messages: texts.length, payloadBytes: texts.join("").length };
}

function update(manager: ExportManager, changes: object): void {
  manager.updateStream("s", definitionWith([{ ...config, ...changes }], { name: "s" }), streamOptionsDefault);
}

test("a start that is moved back has messages exported again, one that is moved forward skips them", async (t) => {
  const bench = await ExportBench.start(t);
  const manager = bench.manager();
  const stream = bench.addStream(manager, "s", [config]);
  manager.onProgress("s", await stream.append(numbered(30)));
  await manager.idle();
  update(manager, { startSequenceNumber: 12 });
  await manager.idle();
  assert.deepEqual(bench.server.storedIn("target"), [...numbered(30), ...numbered(18, 12)]);
  const back = ledgerOf(manager);
  assert.deepEqual(back.rewound, bytesOf(numbered(18, 12)));
  assert.deepEqual(back.accounts.exported, bytesOf([...numbered(30), ...numbered(18, 12)]));

  update(manager, { startSequenceNumber: 12, disabled: true });
  manager.onProgress("s", await stream.append(numbered(20, 30)));
  update(manager, { startSequenceNumber: 45, disabled: true });
  await manager.idle();
  assert.deepEqual(ledgerOf(manager).accounts.skipped, bytesOf(numbered(15, 30)));
  assert.equal(manager.statuses("s")[0]?.lastExportedSequenceNumber, 44);
  update(manager, { startSequenceNumber: 45 });
  await manager.idle();
  assert.deepEqual(bench.server.storedIn("target").slice(48), numbered(5, 45));
});

test("a start that is not changed never rewinds, also over a restart; one that was changed before it moves", async (t) => {
  const bench = await ExportBench.start(t);
  const first = bench.manager();
  const stream = bench.addStream(first, "s", [config]);
  first.onProgress("s", await stream.append(numbered(20)));
  await first.idle();
  update(first, { priority: 3 });
  await first.idle();
  await first.close({ deadlineMs: 5000 });
  assert.equal(bench.server.storedIn("target").length, 20);
  // The definition was stored, and the process ended before its cursor followed.
  const second = bench.manager();
  bench.addStream(second, "s", [{ ...config, startSequenceNumber: 15 }]);
  second.onProgress("s", stream.progress);
  await second.idle();
  assert.deepEqual(bench.server.storedIn("target").slice(20), numbered(5, 15));
  assert.deepEqual(ledgerOf(second).rewound, bytesOf(numbered(5, 15)));
});

test("a batch in flight ends under the old start and does not overwrite the moved position", async (t) => {
  const bench = await ExportBench.start(t);
  let release: () => void = () => undefined;
  const held = new Promise<void>((resolve) => (release = resolve));
  bench.server.answer = async (_, index) => {
    if (index === 1) await held;
    return { kind: "accept" };
  };
  const manager = bench.manager();
  const stream = bench.addStream(manager, "s", [config]);
  manager.onProgress("s", await stream.append(numbered(20)));
  await bench.server.until(() => bench.server.requests.length === 2);
  update(manager, { startSequenceNumber: 4 });
  assert.equal(manager.durablePosition("s"), 4, "from here on it needs messages again");
  assert.equal(manager.statuses("s")[0]?.lastExportedSequenceNumber, 3);
  ledgerOf(manager);
  release();
  await manager.idle();
  assert.deepEqual(bench.server.storedIn("target"), [...numbered(20), ...numbered(16, 4)]);
  const { accounts, rewound } = ledgerOf(manager);
  assert.deepEqual(accounts.exported, bytesOf([...numbered(20), ...numbered(16, 4)]));
  assert.deepEqual(rewound, bytesOf(numbered(16, 4)));
});

test("a start beyond the end skips what is appended until it is reached", async (t) => {
  const bench = await ExportBench.start(t);
  const manager = bench.manager();
  const stream = bench.addStream(manager, "s", [{ ...config, startSequenceNumber: 25 }]);
  for (const [count, from] of [
    [10, 0],
    [10, 10],
  ] as const) {
    manager.onProgress("s", await stream.append(numbered(count, from)));
    assert.deepEqual(ledgerOf(manager).accounts.skipped, bytesOf(numbered(from + count)));
    await manager.idle();
  }
  manager.onProgress("s", await stream.append(numbered(10, 20)));
  await manager.idle();
  assert.deepEqual(ledgerOf(manager).accounts.skipped, bytesOf(numbered(25)));
  assert.deepEqual(bench.server.storedIn("target"), numbered(5, 25));
});

test("an exporter that is taken out and put back begins anew, and nothing is left of one that is gone", async (t) => {
  const bench = await ExportBench.start(t);
  const manager = bench.manager();
  const stream = bench.addStream(manager, "s", [config]);
  manager.onProgress("s", await stream.append(numbered(15)));
  await manager.idle();
  manager.updateStream("s", definitionWith([], { name: "s" }), streamOptionsDefault);
  update(manager, {});
  assert.equal(manager.statuses("s")[0]?.lastExportedSequenceNumber, -1);
  await manager.idle();
  assert.deepEqual(bench.server.storedIn("target"), [...numbered(15), ...numbered(15)]);
  assert.deepEqual(ledgerOf(manager).rewound, { messages: 0, payloadBytes: 0 });
  await manager.close({ deadlineMs: 5000 });

  const exporters = path.join(bench.directory, "s", "exporters");
  assert.equal(readdirSync(exporters).length, 1);
  // The process ended between the definition and the removal of the cursor.
  const next = bench.manager();
  bench.addStream(next, "s", []);
  const deadlineMs = Date.now() + 20_000;
  while (readdirSync(exporters).length > 0 && Date.now() < deadlineMs)
    await new Promise((resolve) => setTimeout(resolve, 20));
  assert.deepEqual(readdirSync(exporters), []);
});

test("a position that could not be removed does not become that of a new exporter of its name", async (t) => {
  const bench = await ExportBench.start(t);
  const manager = bench.manager();
  const stream = bench.addStream(manager, "s", []);
  manager.onProgress("s", await stream.append(numbered(15)));
  const [settings] = exporterSettingsOf(definitionWith([config]), streamOptionsDefault);
  const { exporterId } = settings!;
  const file = new CursorFile(fileStorage, { streamDirectory: path.join(bench.directory, "s"), exporterId });
  const exported = bytesOf(numbered(10));
  const fresh = newCursor(0);
  file.write({
    ...fresh,
    revision: 77,
    position: 10,
    payloadOffset: exported.payloadBytes,
    accounts: { ...fresh.accounts, exported },
  });
  file.close();
  update(manager, {});
  await manager.idle();
  assert.deepEqual(bench.server.storedIn("target"), numbered(15));
  assert.deepEqual(ledgerOf(manager).accounts.exported, bytesOf(numbered(15)));
});

test("a cursor above the end of the log shows as such, pends nothing, and balances when the log goes on behind it", async (t) => {
  const bench = await ExportBench.start(t);
  const first = bench.manager();
  const stream = bench.addStream(first, "s", [config]);
  const progress = await stream.append(numbered(30));
  first.onProgress("s", progress);
  await first.idle();
  await first.close({ deadlineMs: 5000 });
  const end = { sequence: 30, payloadOffset: bytesOf(numbered(30)).payloadBytes };
  assert.deepEqual(exportedEnd(fileStorage, path.join(bench.directory, "s")), end);

  // The log was rolled back to 12 messages; told so before anyone has acted on what the cursor proves.
  const rolledBack = { sequence: 12, payloadOffset: bytesOf(numbered(12)).payloadBytes };
  const second = bench.manager();
  bench.addStream(second, "s", [config]);
  second.onProgress("s", {
    oldestSequence: STREAM_START.sequence,
    oldestPayloadOffset: STREAM_START.payloadOffset,
    syncedEndSequence: rolledBack.sequence,
    syncedEndPayloadOffset: rolledBack.payloadOffset,
    nextSequence: rolledBack.sequence,
    nextPayloadOffset: rolledBack.payloadOffset,
  });
  const ahead = ledgerOf(second);
  assert.equal(ahead.aheadOfLogMessages, 18);
  assert.deepEqual(ahead.pending, { messages: 0, payloadBytes: 0 });
  second.onProgress("s", await stream.append(numbered(5, 30)));
  await second.idle();
  const after = ledgerOf(second);
  assert.equal(after.aheadOfLogMessages, 0);
  assert.deepEqual(after.accounts.exported, bytesOf(numbered(35)));
  assert.deepEqual(bench.server.storedIn("target"), numbered(35));
});
