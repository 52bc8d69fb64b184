// Loaded into an engine before it starts: collects garbage when it is asked to, and says what is left.
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { isMainThread } from "node:worker_threads";

/** What a process holds. */
export interface HeldMemory {
  readonly heapUsed: number;
  readonly arrayBuffers: number;
  readonly rss: number;
}

if (isMainThread) {
  setFlagsFromString("--expose-gc");
  const collect = runInNewContext("gc") as () => void;
  let count = 0;
  process.on("SIGUSR2", () => {
    // What a first collection ends, finalizers let go of before the second.
    collect();
    setImmediate(() => {
      collect();
      const { heapUsed, arrayBuffers, rss } = process.memoryUsage();
      count += 1;
      process.stdout.write(`${JSON.stringify({ collection: count, heapUsed, arrayBuffers, rss })}\n`);
    });
  });
}
