import { StrategyOnFull } from "../../src/core/stream-definition.ts";
import type { LogPolicy } from "../../src/log/log-policy.ts";
import { smallPolicy } from "../support/log-fixture.ts";
import type { Fault, Operation } from "../support/sim-storage.ts";
import { runWorkload, type Scenario } from "./workload.ts";

const flush: LogPolicy = { ...smallPolicy, segmentSize: 32_000 };
const overwrite: LogPolicy = {
  ...flush,
  maxSize: 64_000,
  strategyOnFull: StrategyOnFull.OverwriteOldestData,
};
/** Segments are complete after eight synced batches or so, and eight of them make one. */
const merge: LogPolicy = { ...flush, segmentSize: 400_000, commitAlignBytes: 16_384, wasteBytesMax: 120_000 };
const noFaults: ReadonlyMap<string, Fault> = new Map();

/** Segments of many small blocks, which are rewritten all through the workload. The first one does so with the fewest steps. */
export function rewriteScenarios(options: { readonly seed: number; readonly steps: number }): Scenario[] {
  const { seed, steps } = options;
  const base = { seed, steps, faults: noFaults, rewriteBlockBytes: 4096, fillerBytesMax: 40 };
  return [
    { ...base, name: "rewrite", policy: flush },
    { ...base, name: "rewrite, merge", policy: merge, steps: 5 * steps },
    { ...base, name: "rewrite, no flush", policy: { ...flush, flushOnWrite: false }, steps: 2 * steps },
    {
      ...base,
      name: "rewrite, overwrite",
      policy: overwrite,
      steps: 2 * steps,
      rewriteBlockBytes: 16_384,
      fillerBytesMax: 450,
    },
  ];
}

/** Whether a call is part of the rewrite that makes one segment of many: the first of them is a copy already. */
export function isOfMerge({ kind, note }: Operation): boolean {
  const text = String(note);
  return text.includes("-0002.lz4") || (kind === "unlink" && text.endsWith("-0001.lz4"));
}

/** Whether a call is part of a rewrite, or may be. */
export function isOfRewrite({ kind, note }: Operation): boolean {
  return kind === "rename" || kind === "unlink" || kind === "syncDirectory" || String(note).includes(".tmp");
}

const faults: readonly Fault[] = [{ code: "EIO" }, { code: "ENOSPC" }, { code: "EROFS" }];
const oddWrites: readonly Fault[] = [
  { writtenBytes: 0 },
  { writtenBytes: 700 },
  { writtenBytes: 13, code: "EIO" },
  // Less than any block: what is told to be full has not been written whole.
  { writtenBytes: 50, code: "ENOSPC" },
  // The device took all of it and said otherwise.
  { writtenBytes: 1_000_000, code: "EIO" },
];

/** The scenario with each fault at each call that its rewrites make: once, or from then on. */
export function* rewriteFaultSweep(scenario: Scenario): Generator<Scenario> {
  const counts = new Map<string, number>();
  let sinceRename = Infinity;
  for (const operation of runWorkload(scenario).storage.operations) {
    const { kind } = operation;
    const at = (counts.get(kind) ?? 0) + 1;
    counts.set(kind, at);
    if (kind === "mark") continue;
    sinceRename = kind === "rename" ? 0 : sinceRename + 1;
    // Behind the rename come the sync of its directory and the source's end.
    const isMeant = sinceRename <= 2 || String(operation.note).includes(".tmp");
    if (!isMeant) continue;
    for (const fault of kind === "write" ? [...faults, ...oddWrites] : faults) {
      for (const suffix of ["", "+"]) {
        const name = `${scenario.name}, ${kind}@${at}${suffix}=${fault.code ?? ""}${fault.writtenBytes ?? ""}`;
        yield { ...scenario, name, faults: new Map([[`${kind}@${at}${suffix}`, fault]]) };
      }
    }
  }
}
