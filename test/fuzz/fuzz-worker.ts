// Runs one target in a thread of its own, so that an input that never ends, or takes all memory, can be named by the thread that watches.
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { parentPort, workerData } from "node:worker_threads";
import { loadTarget } from "./all-targets.ts";
import type { FuzzOutcome, FuzzTask } from "./fuzz-thread.ts";
import { fuzz } from "./fuzzer.ts";

const { name, runs, seed, shared } = workerData as FuzzTask;
const progress = new Int32Array(shared, 0, 2);
const current = new Uint8Array(shared, 8);
const target = await loadTarget(name);

setFlagsFromString("--expose-gc");
const collect = runInNewContext("gc") as () => void;

let heapBytesBefore = 0;
/** The first inputs fill caches and compile code. */
const settledAt = Math.ceil(runs / 4);
let count = 0;

const { corpus, failure, ...report } = fuzz(target, {
  runs,
  seed,
  onInput(input) {
    current.set(input);
    progress[1] = input.length;
    Atomics.add(progress, 0, 1);
    if (++count !== settledAt) return;
    collect();
    heapBytesBefore = process.memoryUsage().heapUsed;
  },
});
collect();
const outcome: FuzzOutcome = {
  name,
  ...report,
  corpus: [...corpus],
  heapGrowthBytes: heapBytesBefore === 0 ? 0 : process.memoryUsage().heapUsed - heapBytesBefore,
  ...(failure && { failure: { input: failure.input, text: failure.error.stack ?? failure.error.message } }),
};
parentPort?.postMessage(outcome);
