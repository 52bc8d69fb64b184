/** The entry of an export worker, which is started with the store's directory: one task is one batch. */
import { assert } from "../core/assert.ts";
import { systemClock } from "../core/clock.ts";
import { systemRandom } from "../core/random.ts";
import { withBallast } from "../log/ballast.ts";
import { fileStorage } from "../log/file-storage.ts";
import { loadDestination } from "./destinations/load-destination.ts";
import type { ExportResult, ExportTask } from "./export-channel.ts";
import { ExportRunner } from "./export-runner.ts";
import { LogReaderCache } from "./log-reader-cache.ts";

const readers = new LogReaderCache(fileStorage);
const storeDirectory = process.argv[2];
assert(storeDirectory !== undefined, "an export worker is told its store");
const runner = new ExportRunner({
  storage: withBallast(fileStorage, storeDirectory),
  clock: systemClock,
  loadDestination: (kind) => loadDestination(kind, { random: systemRandom }),
  openReader: (task) => readers.open(task),
});

export default function runTask(task: ExportTask): Promise<ExportResult> {
  return runner.run(task);
}
