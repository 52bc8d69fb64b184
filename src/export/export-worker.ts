/** The entry of an export worker: one task is one batch. */
import { systemClock } from "../core/clock.ts";
import { systemRandom } from "../core/random.ts";
import { fileStorage } from "../log/file-storage.ts";
import { loadDestination } from "./destinations/load-destination.ts";
import type { ExportResult, ExportTask } from "./export-channel.ts";
import { ExportRunner } from "./export-runner.ts";
import { LogReaderCache } from "./log-reader-cache.ts";

const readers = new LogReaderCache(fileStorage);
const runner = new ExportRunner({
  storage: fileStorage,
  clock: systemClock,
  loadDestination: (kind) => loadDestination(kind, { random: systemRandom }),
  openReader: (task) => readers.open(task),
});

export default function runTask(task: ExportTask): Promise<ExportResult> {
  return runner.run(task);
}
