/** The entry of an export worker: one task is one batch. */
import { parentPort } from "node:worker_threads";
import { workerData } from "piscina";
import { assert } from "../core/assert.ts";
import { systemClock } from "../core/clock.ts";
import { systemRandom } from "../core/random.ts";
import { withBallast } from "../log/ballast.ts";
import { fileStorage } from "../log/file-storage.ts";
import { placeThread } from "../native/thread-placement.ts";
import { loadDestination } from "./destinations/load-destination.ts";
import type { ExportResult, ExportTask } from "./export-channel.ts";
import { ExportRunner } from "./export-runner.ts";
import { LogReaderCache } from "./log-reader-cache.ts";
import { type ExportWorkerSettings, nextThreadName } from "./worker-settings.ts";

assert(parentPort !== null, "export-worker runs as a worker thread");
const settings = workerData as ExportWorkerSettings;
const { storeDirectory, destinations: environment, place } = settings;
const name = nextThreadName(settings);
for (const refusal of placeThread({ name, ...place })) parentPort.postMessage(refusal);
const readers = new LogReaderCache(fileStorage);
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
