import { closeSync, fdatasyncSync, openSync, writeSync } from "node:fs";
import path from "node:path";
import { makeBenchDirectory, removeBenchDirectory } from "../clean-up.ts";
import { LatencyHistogram } from "../latency-histogram.ts";

const WRITE_BYTES = 4096;
const SYNCS_MIN = 3;

/** What the disk itself takes to make 4 KiB at the end of a file durable, one after the other for `seconds`. */
export function measureDiskSyncs(storeRoot: string, seconds: number): LatencyHistogram {
  const directory = makeBenchDirectory(storeRoot, "sync");
  const latencies = new LatencyHistogram();
  try {
    const descriptor = openSync(path.join(directory, "syncs"), "w", 0o600);
    try {
      const bytes = Buffer.alloc(WRITE_BYTES, "x");
      const endMs = performance.now() + seconds * 1000;
      while (latencies.count < SYNCS_MIN || performance.now() < endMs) {
        writeSync(descriptor, bytes);
        const startMs = performance.now();
        fdatasyncSync(descriptor);
        latencies.add((performance.now() - startMs) * 1000);
      }
    } finally {
      closeSync(descriptor);
    }
  } finally {
    removeBenchDirectory(directory);
  }
  return latencies;
}
