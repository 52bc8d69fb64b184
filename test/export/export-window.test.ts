import assert from "node:assert/strict";
import { test } from "node:test";
import { EXPORT_BACKOFF_MS_MAX } from "../../src/core/limits.ts";
import type { ExportRecord, SendOutcome } from "../../src/export/destinations/destination.ts";
import { newCursor } from "../../src/export/cursor-layout.ts";
import { ExporterPace } from "../../src/export/exporter-pace.ts";
import { type AnsweredRequest, outcomeOf } from "../../src/export/export-window.ts";
import { SeededRandom } from "../support/deterministic.ts";

const PAUSE_MS = EXPORT_BACKOFF_MS_MAX + 1;

function answered(...answers: SendOutcome[]): AnsweredRequest[] {
  return answers.map((answer, sequence) => {
    const record: ExportRecord = { sequence, ingestTimeMs: 1, data: Buffer.from("x") };
    return { group: [{ sequence, bytes: 1, fate: "waiting", refusals: 0 }], records: [record], answer };
  });
}

const failure = { kind: "failed", pace: "backoff", timedOut: false, error: "503" } as const;

for (const other of [
  { ...failure, scope: "endpoint" },
  { ...failure, scope: "exporter" },
  { kind: "refused", error: "400" },
] as const satisfies readonly SendOutcome[]) {
  const name = other.kind === "failed" ? `a failure of the ${other.scope}` : "a refusal";
  test(`outcomeOf keeps a pause that stands beside ${name}, and the exporter keeps it`, () => {
    const paused: SendOutcome = { kind: "answered", failed: [], error: "", pauseMs: PAUSE_MS };
    for (const answers of [answered(paused, other), answered(other, paused)]) {
      const outcome = outcomeOf(answers, { cursor: newCursor(0), pending: undefined });
      assert.deepEqual(outcome, { ...other, pauseMs: PAUSE_MS });
      const pace = new ExporterPace();
      pace.note(outcome, { nowMs: 1000, random: new SeededRandom(1) });
      assert.equal(pace.notBeforeMs, 1000 + PAUSE_MS);
    }
  });
}

test("outcomeOf takes the longest pause of all answers", () => {
  const answers = [5, 70, 0].map(
    (pauseMs) => ({ kind: "answered", failed: [], error: "", pauseMs }) as const,
  );
  const outcome = outcomeOf(answered(...answers), { cursor: newCursor(0), pending: undefined });
  assert.ok(outcome.kind === "sent");
  assert.deepEqual([outcome.acceptedMessages, outcome.pauseMs], [3, 70]);
});
