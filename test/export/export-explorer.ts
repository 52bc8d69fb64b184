import assert from "node:assert/strict";
import { LossReason } from "../../src/core/stream-ledger.ts";
import { CursorFile } from "../../src/export/cursor-file.ts";
import type { CursorRecord } from "../../src/export/cursor-layout.ts";
import { STREAM_DIRECTORY } from "../support/log-fixture.ts";
import { SeededRandom } from "../support/deterministic.ts";
import { SimCompanion } from "./sim-companion.ts";
import { type CrashState, crashStates, SimStorage, type Faults } from "../support/sim-storage.ts";
import {
  EXPORT_BATCH_SIZE,
  type ExportSeams,
  ExportSimulation,
  newWorld,
  soundExportSeams,
  type Told,
} from "./export-simulation.ts";

export interface ExportExploration {
  readonly seed: number;
  readonly steps: number;
  readonly statesMax: number;
  /** Every n-th state is gone on from, until all is sent. */
  readonly resumeEvery: number;
  readonly seams?: ExportSeams;
  readonly faults?: Faults;
}

export interface ExportExplored {
  readonly violation: string | undefined;
  readonly states: number;
  readonly resumed: number;
  readonly faultCount: number;
  /** Which syncs of the storage were of a cursor file. */
  readonly cursorSyncs: readonly number[];
  readonly simulation: ExportSimulation;
}

const config = { identifier: "k", kinesisStreamName: "target", batchSize: EXPORT_BATCH_SIZE };

/** Exports for a while, then ends the process, or the machine, behind every operation, in every way that the storage knows. */
export async function exploreExport(options: ExportExploration): Promise<ExportExplored> {
  const { seed, seams = soundExportSeams, faults = new Map() } = options;
  const world = newWorld(seed);
  const storage = new SimStorage({ faults });
  storage.makeDirectory("/store");
  storage.syncDirectory("/");
  const simulation = new ExportSimulation(world, storage, { config, seams });
  const results = { states: 0, resumed: 0 };
  let violation: string | undefined;
  try {
    for (let step = 0; step < options.steps; step += 1) {
      simulation.append({ isSynced: true });
      await simulation.settle();
      await simulation.pass(world.random.between(200, 1500));
    }
    await exploreStates(simulation, options, results);
  } catch (error) {
    violation = `seed ${seed}: ${error instanceof Error ? error.message : String(error)}`;
  }
  const { faultCount } = storage;
  return { violation, ...results, faultCount, cursorSyncs: cursorSyncsOf(storage), simulation };
}

async function exploreStates(
  simulation: ExportSimulation,
  { seed, statesMax, resumeEvery }: ExportExploration,
  results: { states: number; resumed: number },
): Promise<void> {
  const { storage } = simulation;
  const random = new SeededRandom(seed);
  const crash = { random: () => random.fraction(), randomSubsets: 2, garbleBytes: 4096 };
  // The making of the stream is the log's own matter.
  const first = simulation.told[0]!.operationCount;
  // With more states than are wanted, operations are skipped and not the end.
  const stride = Math.max(1, Math.ceil(((storage.operations.length - first) * 12) / Math.max(1, statesMax)));
  for (let operation = first; operation < storage.operations.length; operation += 1) {
    if (statesMax === 0 || random.fraction() * stride >= 1) continue;
    for (const state of crashStates(storage, operation, crash)) {
      results.states += 1;
      const { kind, note } = storage.operations[operation]!;
      const at = `operation ${operation} (${kind} ${String(note)}), ${state.label}`;
      const record = readCursor(state.storage, simulation.exporterId);
      checkState(simulation, { state, operation, record, at });
      if (record !== undefined) checkCompanion(simulation, { state, record, at });
      if (results.states % resumeEvery !== 0) continue;
      results.resumed += 1;
      await resume(simulation, { state, operation, at });
    }
  }
}

function readCursor(storage: SimStorage, exporterId: string): CursorRecord | undefined {
  const file = new CursorFile(storage, { streamDirectory: STREAM_DIRECTORY, exporterId });
  file.close();
  return file.record;
}

/** What the main thread had been told when the operation was done. */
function toldAt(told: readonly Told[], operation: number): Told | undefined {
  return told.findLast(({ operationCount }) => operationCount <= operation + 1);
}

function checkState(
  { told, world }: ExportSimulation,
  found: { state: CrashState; operation: number; record: CursorRecord | undefined; at: string },
): void {
  const { state, operation, record, at } = found;
  const position = record?.position ?? 0;
  const last = toldAt(told, operation);
  const mustReach = (state.isKillOnly ? last?.position : last?.durablePosition) ?? 0;
  assert.ok(position >= mustReach, `${at}: the cursor is back at ${position}, and ${mustReach} was told`);
  for (let sequence = 0; sequence < position; sequence += 1) {
    const isLost = record!.ranges.some(
      ({ fromSequence, toSequence }) => sequence >= fromSequence && sequence < toSequence,
    );
    const storedAt = world.cloudOperations.get(sequence) ?? Infinity;
    assert.ok(isLost || storedAt <= operation + 1, `${at}: message ${sequence} was passed and not sent`);
  }
}

/** What the position has passed as set aside is in the companion stream, whatever a crash took. */
function checkCompanion(
  { world }: ExportSimulation,
  { state, record, at }: { state: CrashState; record: CursorRecord; at: string },
): void {
  const ranges = record.ranges.filter(({ reason }) => reason === LossReason.SetAside);
  if (ranges.length === 0) return;
  const { clock } = world;
  // A copy of the state: looking recovers it.
  const entries = SimCompanion.entriesOn(state.storage.copy(), { clock, random: new SeededRandom(1) });
  for (const { fromSequence, toSequence } of ranges) {
    for (let sequence = fromSequence; sequence < toSequence; sequence += 1) {
      const payloads = entries.get(sequence) ?? [];
      assert.ok(payloads.length > 0, `${at}: message ${sequence} was passed and is not set aside`);
      for (const payload of payloads) assert.equal(payload, world.payloads[sequence], at);
    }
  }
}

/** The next process on what is left, until everything is sent. */
async function resume(
  before: ExportSimulation,
  { state, operation, at }: { state: CrashState; operation: number; at: string },
): Promise<void> {
  const world = newWorld(operation);
  world.payloads.push(...before.world.payloads);
  for (const [sequence, storedAt] of before.world.cloudOperations) {
    if (storedAt <= operation + 1) world.cloud.set(sequence, 1);
  }
  const stored = world.cloud.size;
  const durable = toldAt(before.told, operation)?.durablePosition ?? 0;
  // In another order the cloud would get the same: a mood more would only repeat the first run.
  const simulation = new ExportSimulation(world, state.storage, { config });
  await simulation.drain();
  const repeated = [...world.cloud].filter(([, times]) => times > 1).length;
  const repeatedMax = EXPORT_BATCH_SIZE + (state.isKillOnly ? 0 : Math.max(0, stored - durable));
  assert.ok(repeated <= repeatedMax, `${at}: ${repeated} messages were sent again, ${repeatedMax} may be`);
  const { accounts } = simulation.ledger;
  assert.ok(accounts.exported.messages <= world.cloud.size, `${at}: more was exported than arrived`);
}

function cursorSyncsOf({ operations }: SimStorage): number[] {
  const syncs = operations.filter(({ kind }) => kind === "sync");
  return syncs.flatMap(({ note }, index) => (String(note).includes(".cursor") ? [index + 1] : []));
}
