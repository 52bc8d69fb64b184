import { parentPort, workerData } from "node:worker_threads";
import { assert } from "../core/assert.ts";
import { systemClock } from "../core/clock.ts";
import { systemRandom } from "../core/random.ts";
import { fileStorage } from "../log/file-storage.ts";
import { SharedMemoryStorage } from "../log/shared-memory-storage.ts";
import { Doorbell } from "../ring/doorbell.ts";
import { RingReader } from "../ring/ring-reader.ts";
import { RingSender } from "../ring/ring-sender.ts";
import { RingWriter, silentDoorbell } from "../ring/ring-writer.ts";
import { runAgent } from "./agent-runner.ts";
import { StreamAgent } from "./stream-agent.ts";
import type { ControlReply, StreamWorkerData } from "./stream-channel.ts";

const port = parentPort;
assert(port !== null, "stream-worker runs as a worker thread");
const data = workerData as StreamWorkerData;
const doorbell = new Doorbell(data.workerDoorbell);
const mainDoorbell = new Doorbell(data.mainDoorbell);
const reply = (message: ControlReply): void => port.postMessage(message);

const agent = new StreamAgent({
  down: new RingReader(data.downRing, mainDoorbell),
  // Rung by the agent, once for all it wrote: woken by the first record, the main thread would sleep again before the last.
  up: new RingSender(new RingWriter(data.upRing, silentDoorbell)),
  wakeMain: () => mainDoorbell.ring(),
  reply,
  storage: fileStorage,
  memoryStorage: (files) =>
    new SharedMemoryStorage({
      files,
      hooks: {
        onChunk: (path, index, memory) => reply({ kind: "memory-chunk", chunk: { path, index, memory } }),
        onUnlink: (path) => reply({ kind: "memory-unlink", path }),
      },
    }),
  clock: systemClock,
  random: systemRandom,
  settings: data.settings,
});
await runAgent({ agent, port, doorbell, clock: systemClock });
port.close();
