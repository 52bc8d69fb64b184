import type { DestinationKind } from "../core/stream-definition.ts";
import { textOf } from "../core/errors.ts";
import type { Storage } from "../log/storage.ts";
import type { Destination } from "./destinations/destination.ts";
import type { TendResult, TendTask } from "./export-channel.ts";
import { readPartNotes } from "./part-notes.ts";

/** Has files completed that an exporter left growing, if there are such, wherever the exporter sends to now. */
export async function tendFiles(
  storage: Storage,
  task: TendTask,
  load: (kind: DestinationKind) => Promise<Destination>,
): Promise<TendResult> {
  try {
    if (readPartNotes(storage, task).length === 0) return { kind: "tended", error: "" };
    const destination = await load("file");
    const outcome = await destination.tend?.(task.destination, task, task);
    return { kind: "tended", error: "", ...outcome };
  } catch (error) {
    return { kind: "tended", error: textOf(error) };
  }
}
