import assert from "node:assert/strict";
import { test } from "node:test";
import { STREAM_START } from "../../src/core/stream-ledger.ts";
import { CursorFile, exportedEnd } from "../../src/export/cursor-file.ts";
import { testSeed } from "../support/seeded-random.ts";
import { SimStorage, type Faults } from "../support/sim-storage.ts";
import { byLength } from "../support/test-length.ts";
import { exploreExport, type ExportExploration } from "./export-explorer.ts";
import { plantedExportBugs } from "./planted-export-bugs.ts";

const RUNS = byLength({ everyday: 1, long: 3 });

function explore(seed: number, options: Partial<ExportExploration> = {}): ReturnType<typeof exploreExport> {
  return exploreExport({ seed, steps: 14, resumeEvery: 400, statesMax: 4000, ...options });
}

test("a cursor never goes back after it was told, and a killed process repeats one batch at most", async () => {
  for (let run = 0; run < RUNS; run += 1) {
    const { violation, states, resumed } = await explore(testSeed + run);
    assert.equal(violation, undefined);
    assert.ok(states > 1000 && resumed > 2, `${states} states, ${resumed} resumed`);
  }
});

test("a cursor whose sync has failed is written anew, and nothing is told that is not on the medium", async () => {
  const { cursorSyncs } = await explore(testSeed, { statesMax: 0 });
  assert.ok(cursorSyncs.length > 2);
  for (const count of cursorSyncs.slice(0, 2 * RUNS)) {
    const faults: Faults = new Map([[`sync@${count}`, { code: "EIO" }]]);
    const { violation, faultCount } = await explore(testSeed, { faults, statesMax: 1500, resumeEvery: 500 });
    assert.equal(violation, undefined);
    assert.equal(faultCount, 1, `sync ${count} failed`);
  }
});

for (const { name, seams, needsFailedSync } of plantedExportBugs) {
  test(`planted bug is found: ${name}`, async () => {
    const { cursorSyncs } = await explore(testSeed, { statesMax: 0 });
    const found: string[] = [];
    for (const count of needsFailedSync ? cursorSyncs : [0]) {
      const faults: Faults = new Map(needsFailedSync ? [[`sync@${count}`, { code: "EIO" }]] : []);
      const { violation } = await explore(testSeed, { seams, faults });
      if (violation !== undefined) found.push(violation);
      if (found.length > 0) break;
    }
    assert.notEqual(found.length, 0, "it survived");
  });
}

test("exportedEnd proves what every cursor on the medium has passed", async () => {
  const { simulation } = await explore(testSeed, { statesMax: 0 });
  const { storage, exporterId } = simulation;
  const file = new CursorFile(storage, { streamDirectory: "/store/stream", exporterId });
  file.close();
  assert.ok(file.record !== undefined && file.record.position > 0);
  const { position: sequence, payloadOffset } = file.record;
  assert.deepEqual(exportedEnd(storage, "/store/stream"), { sequence, payloadOffset });
  assert.deepEqual(exportedEnd(new SimStorage(), "/store/stream"), STREAM_START);
});
