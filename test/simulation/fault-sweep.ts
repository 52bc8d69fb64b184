import { StrategyOnFull } from "../../src/core/stream-definition.ts";
import type { LogPolicy } from "../../src/log/log-policy.ts";
import { smallPolicy } from "../support/log-fixture.ts";
import type { Fault, Faults } from "../support/sim-storage.ts";
import type { Scenario } from "./workload.ts";

/** How far each kind of call is swept. A workload syncs two directories before the log has any. */
const callsSwept = {
  open: { from: 1, to: 6 },
  write: { from: 1, to: 16 },
  sync: { from: 1, to: 12 },
  syncDirectory: { from: 3, to: 7 },
  unlink: { from: 1, to: 4 },
  truncate: { from: 1, to: 2 },
} as const;
type SweptCall = keyof typeof callsSwept;

const codes = ["EIO", "ENOSPC", "EROFS"] as const;

const oddWrites: readonly Fault[] = [
  { writtenBytes: 0 },
  { writtenBytes: 1 },
  { writtenBytes: 700 },
  { writtenBytes: 13, code: "EIO" },
  // The device took all of it and said otherwise.
  { writtenBytes: 1_000_000, code: "EIO" },
];

const policies: readonly LogPolicy[] = [
  { ...smallPolicy, segmentSize: 9000 },
  { ...smallPolicy, segmentSize: 9000, flushOnWrite: false },
  {
    ...smallPolicy,
    maxSize: 9000,
    segmentSize: 3000,
    strategyOnFull: StrategyOnFull.OverwriteOldestData,
  },
  { ...smallPolicy, segmentSize: 3000, timeToLiveMs: 20 * 60_000 },
];

interface SweptFault {
  readonly name: string;
  readonly faults: Faults;
  /** Only streams that delete have such calls. */
  readonly isDeletion: boolean;
}

/** One fault at the N-th call, for every N, code and odd count of a write: once, or from then on. */
function* sweptFaults(): Generator<SweptFault> {
  for (const call of Object.keys(callsSwept) as SweptCall[]) {
    const { from, to } = callsSwept[call];
    for (let at = from; at <= to; at++) {
      const odd = call === "write" ? oddWrites : [];
      for (const fault of [...codes.map((code): Fault => ({ code })), ...odd]) {
        for (const suffix of ["", "+"]) {
          // Every write a byte long would be tens of thousands of operations.
          if (suffix === "+" && fault.writtenBytes === 1) continue;
          const key = `${call}@${at}${suffix}`;
          const faults = new Map<string, Fault>([[key, fault]]);
          // Only what a failed write left is cut.
          if (call === "truncate") {
            faults.set("write@4", { writtenBytes: 113, code: "EIO" });
            faults.set("write@9", { writtenBytes: 113, code: "EIO" });
          }
          const name = `${key}=${fault.code ?? ""}${fault.writtenBytes ?? ""}`;
          yield { name, faults, isDeletion: call === "unlink" };
        }
      }
      if (call === "write") yield* fullInTheMiddle(at);
    }
  }
}

/** Where room ends within a write, the system tells how much it took, and fails the call after that. */
function* fullInTheMiddle(at: number): Generator<SweptFault> {
  for (const suffix of ["", "+"]) {
    const faults = new Map<string, Fault>([
      [`write@${at}`, { writtenBytes: 500 }],
      [`write@${at + 1}${suffix}`, { code: "ENOSPC" }],
    ]);
    yield { name: `write@${at}=500, then ENOSPC${suffix}`, faults, isDeletion: false };
  }
}

/**
 * Scenarios with each fault. `policiesEach` of 1 gives each fault one policy in turn, so that neighbours differ; 4 gives it
 * all of them.
 */
export function* faultSweep(options: {
  readonly seed: number;
  readonly steps: number;
  readonly policiesEach: number;
}): Generator<Scenario> {
  const { seed, steps } = options;
  let turn = 0;
  for (const { name, faults, isDeletion } of sweptFaults()) {
    const usable = isDeletion ? policies.slice(-2) : policies;
    for (let count = Math.min(options.policiesEach, usable.length); count > 0; count--) {
      const index = turn++ % usable.length;
      yield { name: `${name}, policy ${index}`, seed, steps, policy: usable[index]!, faults };
    }
  }
}
