import type { EngineContext } from "./engine-context.ts";
import type { StreamEntry } from "./stream-entry.ts";

/**
 * Tells the worker of a stream that frees what was exported (`freeExported`) up to where every enabled exporter has durably
 * passed; where there is none, nothing is freed. One message at a time: progress that comes meanwhile goes with the next.
 */
export async function tellRelease(engine: EngineContext, entry: StreamEntry): Promise<void> {
  const { release } = entry;
  if (release.isTelling) return;
  release.isTelling = true;
  try {
    while (entry.lifecycle === "open" && !release.isHeld) {
      const { freeExported } = entry.options;
      const endSequence = freeExported ? (engine.exports.durablePosition(entry.streamId) ?? 0) : 0;
      if (endSequence === release.toldSequence) return;
      release.toldSequence = endSequence;
      await engine.workers
        .proxy(entry.workerIndex)
        .control({ kind: "release", slot: entry.slot, endSequence });
    }
  } catch {
    // The worker has ended; its successor is told anew when it has opened the stream.
  } finally {
    release.isTelling = false;
  }
}
