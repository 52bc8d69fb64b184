import { parentPort, workerData } from "node:worker_threads";
import { assert } from "../core/assert.ts";
import { systemClock } from "../core/clock.ts";
import { systemRandom } from "../core/random.ts";
import { withBallast } from "../log/ballast.ts";
import { fileStorage } from "../log/file-storage.ts";
import { placeThread } from "../native/thread-placement.ts";
import { Doorbell } from "../ring/doorbell.ts";
import { assembleAgent } from "./agent-assembly.ts";
import { runAgent } from "./agent-runner.ts";
import type { ControlReply } from "./stream-channel.ts";
import type { PlacedWorkerData, PlacementReply } from "./stream-thread.ts";

const port = parentPort;
assert(port !== null, "stream-worker runs as a worker thread");
const data = workerData as PlacedWorkerData;
const tell = (message: ControlReply | PlacementReply): void => port.postMessage(message);
for (const refusal of placeThread(data.place)) tell({ kind: "refused-place", refusal });
const agent = assembleAgent(data, {
  storage: withBallast(fileStorage, data.settings.storeDirectory),
  clock: systemClock,
  random: systemRandom,
  reply: tell,
});
await runAgent({ agent, port, doorbell: new Doorbell(data.workerDoorbell), clock: systemClock });
port.close();
