import assert from "node:assert/strict";
import { test } from "node:test";
import { emptyExportDefinition } from "../../src/core/stream-definition.ts";
import { STREAM_START } from "../../src/core/stream-ledger.ts";
import { streamOptionsDefault } from "../../src/core/stream-options.ts";
import { ArrivalMarks } from "../../src/export/arrival-marks.ts";
import type { BatchResult } from "../../src/export/export-channel.ts";
import { ExportTurns } from "../../src/export/export-turns.ts";
import { Exporter } from "../../src/export/exporter.ts";
import { exporterSettingsOf } from "../../src/export/exporter-settings.ts";
import { SeededRandom } from "../support/deterministic.ts";
import { definitionWith } from "../support/stream-fixture.ts";
import { endOf } from "./held-tasks.ts";

const KBIT_PER_SECOND = 80;
const BYTES_PER_SECOND = (KBIT_PER_SECOND * 1000) / 8;
const PART_BYTES = 60 * BYTES_PER_SECOND;
const now = { nowMs: 0, wallMs: 0, random: new SeededRandom(1) };

/** S3 tasks to one endpoint. */
function exporterOf(name: string): Exporter {
  const next = { sequence: 1, payloadOffset: 10 };
  const stream = {
    ...{ streamId: name, name, directory: `/nowhere/${name}`, isMemory: false, drops: () => [] },
    ...{ oldest: STREAM_START, syncedEnd: next, next },
  };
  const exportDefinition = { ...emptyExportDefinition, s3TaskExecutor: [{ identifier: name }] };
  const [settings] = exporterSettingsOf(definitionWith([], { exportDefinition }), streamOptionsDefault);
  return new Exporter(stream, settings!, undefined);
}

/** How long another waits for bandwidth after a part was called back of which so many bytes had left. */
function waitMsAfterRecall(requests: BatchResult["requests"]): number {
  const turns = new ExportTurns({ random: now.random, kbitPerSecondMax: KBIT_PER_SECOND, nowMs: 0 });
  const [removed, other] = [exporterOf("removed"), exporterOf("other")];
  const ticket = turns.begin(removed, PART_BYTES, 0);
  const start = { ticket, expectedBytes: PART_BYTES };
  const task = removed.start(start, { ...now, kbitPerSecondMax: KBIT_PER_SECOND, memory: undefined });
  removed.remove();
  turns.forget(removed);
  const outcome = { kind: "failed", scope: "endpoint", pace: "backoff", timedOut: false, error: "" } as const;
  const result = endOf(task, { outcome, ...(requests && { requests }) });
  turns.end(removed, removed.finish(result, now), { result, nowMs: 0 });
  const plan = turns.plan([other], { slotsFree: 1, nowMs: 0, arrivalsOf: () => new ArrivalMarks(1) });
  return plan.start.length === 1 ? 0 : (plan.wakeAtMs ?? Infinity);
}

test("ExportTurns charges a request that was called back for what had left of it, and not its endpoint", () => {
  assert.equal(waitMsAfterRecall(undefined), 0, "nothing left");
  const bytes = { payloadBytes: 0, countedBytes: 0 };
  assert.equal(waitMsAfterRecall({ bodyBytes: 10, ...bytes }), 0);
  const half = waitMsAfterRecall({ bodyBytes: PART_BYTES / 2, ...bytes });
  assert.ok(half > 20_000 && half <= 30_000, `half of it: ${half} ms`);
});
