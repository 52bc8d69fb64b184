import { Worker } from "node:worker_threads";

export interface FuzzTask {
  readonly name: string;
  readonly runs: number;
  readonly seed: number;
  /** u32 count of inputs, u32 size of the present one, and its bytes. */
  readonly shared: SharedArrayBuffer;
}

export interface FuzzThreadOptions extends Omit<FuzzTask, "shared"> {
  /** How long one input may take before it counts as one that never ends. */
  readonly hangMs?: number | undefined;
}

export interface FuzzOutcome {
  readonly name: string;
  readonly runs: number;
  readonly blocks: number;
  readonly corpus: readonly Uint8Array[];
  /** After the first quarter of the inputs. */
  readonly heapGrowthBytes: number;
  readonly failure?: { readonly input: Uint8Array; readonly text: string };
}

/** Far beyond what any input takes on a busy machine. */
const HANG_MS_DEFAULT = 30_000;
/** The longest input of any target fits. */
export const INPUT_BYTES_MAX = 16 * 1024;
const WATCHES_PER_HANG = 10;
const HEAP_MIB_MAX = 512;
/** What the corpus and what is known of the coverage may grow by. */
const HEAP_GROWTH_BYTES_MAX = 24 * 1024 * 1024;

/**
 * Fuzzes one target. @throws when an input breaks a promise, never ends or takes all memory: with the input, and how to have it
 * again
 */
export async function fuzzTarget(options: FuzzThreadOptions): Promise<FuzzOutcome> {
  const { hangMs = HANG_MS_DEFAULT, ...task } = options;
  const shared = new SharedArrayBuffer(8 + INPUT_BYTES_MAX);
  const progress = new Int32Array(shared, 0, 2);
  const present = (): Uint8Array => new Uint8Array(shared, 8, progress[1]).slice();
  const worker = new Worker(new URL("./fuzz-worker.js", import.meta.url), {
    workerData: { ...task, shared } satisfies FuzzTask,
    resourceLimits: { maxOldGenerationSizeMb: HEAP_MIB_MAX },
  });
  let seen = -1;
  let seenMs = performance.now();
  let watch: NodeJS.Timeout | undefined;
  try {
    const outcome = await new Promise<FuzzOutcome>((resolve, reject) => {
      const fail = (input: Uint8Array, text: string): void =>
        reject(new Error(failureText(task, input, text)));
      worker.once("message", resolve);
      worker.once("error", (error) => fail(present(), error.stack ?? error.message));
      watch = setInterval(() => {
        const count = Atomics.load(progress, 0);
        if (count !== seen) {
          seen = count;
          seenMs = performance.now();
        } else if (performance.now() - seenMs > hangMs) {
          fail(present(), `does not end within ${hangMs} ms`);
        }
      }, hangMs / WATCHES_PER_HANG);
    });
    if (outcome.failure !== undefined)
      throw new Error(failureText(task, outcome.failure.input, outcome.failure.text));
    if (outcome.heapGrowthBytes > HEAP_GROWTH_BYTES_MAX)
      throw new Error(
        `${task.name}: the heap grew by ${outcome.heapGrowthBytes} bytes in ${outcome.runs} inputs`,
      );
    return outcome;
  } finally {
    clearInterval(watch);
    await worker.terminate();
  }
}

function failureText(
  { name, seed, runs }: Omit<FuzzTask, "shared">,
  input: Uint8Array,
  text: string,
): string {
  const hex = Buffer.from(input).toString("hex");
  return (
    `${name}, seed ${seed}, ${runs} inputs: ${text}\ninput ${hex}\n` +
    `again by: node --enable-source-maps dist/test/fuzz/run-fuzz.js --target ${name} --input ${hex === "" ? '""' : hex}`
  );
}
