import type { MachineClock } from "../core/clock.ts";
import type { Random } from "../core/random.ts";
import { MemoryBudget } from "../log/memory-budget.ts";
import { SharedMemoryStorage } from "../log/shared-memory-storage.ts";
import type { Storage } from "../log/storage.ts";
import { Doorbell } from "../ring/doorbell.ts";
import { RingReader } from "../ring/ring-reader.ts";
import { RingSender } from "../ring/ring-sender.ts";
import { RingWriter, silentDoorbell } from "../ring/ring-writer.ts";
import { HandledSlot } from "./handled-slot.ts";
import { StreamAgent } from "./stream-agent.ts";
import type { ControlReply, StreamWorkerData } from "./stream-channel.ts";

/** An agent on the rings that the main thread made for it; whoever calls it runs it. */
export function assembleAgent(
  data: StreamWorkerData,
  parts: {
    readonly storage: Storage;
    readonly clock: MachineClock;
    readonly random: Random;
    readonly reply: (message: ControlReply) => void;
  },
): StreamAgent {
  const { reply } = parts;
  const mainDoorbell = new Doorbell(data.mainDoorbell);
  const budget = new MemoryBudget(data.settings.memoryStreamBytesMax, data.memoryBudget).share(
    data.workerIndex,
  );
  return new StreamAgent({
    ...parts,
    down: new RingReader(data.downRing, mainDoorbell),
    // Rung by the agent, once for all it wrote: woken by the first record, the main thread would sleep again before the last.
    up: new RingSender(new RingWriter(data.upRing, silentDoorbell)),
    wakeMain: () => mainDoorbell.ring(),
    memoryStorage: (files) =>
      new SharedMemoryStorage({
        files,
        budget,
        hooks: {
          onChunk: (path, index, memory) => reply({ kind: "memory-chunk", chunk: { path, index, memory } }),
          onUnlink: (path) => reply({ kind: "memory-unlink", path }),
          onRename: (source, target) => reply({ kind: "memory-rename", source, target }),
        },
      }),
    handledSlot: new HandledSlot(data.handledSlot),
    settings: data.settings,
  });
}
