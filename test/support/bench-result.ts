import type { BenchRecord } from "../../bench/bench.ts";
import type { BenchEnvironment } from "../../bench/environment.ts";
import { RESULT_FORMAT, type BenchResult } from "../../bench/result-file.ts";

const testEnvironment: BenchEnvironment = {
  cpu: "Test CPU",
  cores: 2,
  memory_mib: 4096,
  kernel: "6.1.0",
  node: "v20.20.2",
  commit: "0123456789ab",
  started_at: "2026-11-27T10:00:00.000Z",
  load_average: 0.5,
  store_file_system: "ext4",
  data_set: "inference",
  settings: { seconds: 1 },
};

/** A result of one machine, with what is different of its environment. */
export function resultOf(
  records: readonly BenchRecord[],
  environment: Partial<BenchEnvironment> = {},
): BenchResult {
  return {
    format: RESULT_FORMAT,
    bench: "ingest",
    environment: { ...testEnvironment, ...environment },
    records,
  };
}
