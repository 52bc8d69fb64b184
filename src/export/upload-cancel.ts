import type { DestinationKind } from "../core/stream-definition.ts";
import type { Storage } from "../log/storage.ts";
import type { Destination } from "./destinations/destination.ts";
import type { CancelResult, CancelTask } from "./export-channel.ts";
import { readUploadFile, removeUploadFile } from "./upload-file.ts";

/** Ends what an exporter has under way, if there is such a thing, and removes what it keeps of it. */
export async function cancelUpload(
  storage: Storage,
  task: CancelTask,
  load: (kind: DestinationKind) => Promise<Destination>,
): Promise<CancelResult> {
  // Without it no SDK is imported.
  const kept = readUploadFile(storage, task);
  if (kept === undefined) return { kind: "canceled", notices: [] };
  const destination = await load(task.destination.kind);
  const notices = (await destination.cancel?.(task.destination, task, task.reason)) ?? [];
  // Unless another exporter of that name has begun meanwhile.
  if (readUploadFile(storage, task)?.equals(kept) === true) removeUploadFile(storage, task);
  return { kind: "canceled", notices };
}
