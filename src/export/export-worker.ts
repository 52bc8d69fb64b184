/** The entry of an export worker: one task is one batch. */
import { workerData } from "piscina";
import { systemClock } from "../core/clock.ts";
import { systemRandom } from "../core/random.ts";
import { withBallast } from "../log/ballast.ts";
import { fileStorage } from "../log/file-storage.ts";
import { loadDestination } from "./destinations/load-destination.ts";
import type { ExportResult, ExportTask } from "./export-channel.ts";
import { ExportRunner } from "./export-runner.ts";
import { LogReaderCache } from "./log-reader-cache.ts";
import type { ExportWorkerSettings } from "./worker-settings.ts";

const readers = new LogReaderCache(fileStorage);
const { storeDirectory, destinations: environment } = workerData as ExportWorkerSettings;
const storage = withBallast(fileStorage, storeDirectory);
const platform = { storage, clock: systemClock, random: systemRandom };
const runner = new ExportRunner({
  ...platform,
  loadDestination: (kind) => loadDestination(kind, { ...platform, storeDirectory, environment }),
  openReader: (task) => readers.open(task),
});

export default function runTask(task: ExportTask): Promise<ExportResult> {
  return runner.run(task);
}
