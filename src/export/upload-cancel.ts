import type { DestinationKind } from "../core/stream-definition.ts";
import type { Storage } from "../log/storage.ts";
import type { Destination } from "./destinations/destination.ts";
import type { CancelResult, CancelTask } from "./export-channel.ts";
import { readUploadFile, removeUploadFile } from "./upload-file.ts";

/** Of the exporters that keep something of this sort. */
const KIND = "s3TaskExecutor";

/** Ends what an exporter has under way, if there is such a thing, and removes what it keeps of it. */
export async function cancelUpload(
  storage: Storage,
  task: CancelTask,
  load: (kind: DestinationKind) => Promise<Destination>,
): Promise<CancelResult> {
  // Without it no SDK is imported.
  const kept = readUploadFile(storage, task);
  if (kept === undefined) return { kind: "canceled", notices: [], isEnded: true };
  const destination = await load(task.destination?.kind ?? KIND);
  const canceled = await destination.cancel?.(task.destination, task, task.reason);
  const isEnded = task.isLastTry || canceled === undefined || canceled.isEnded;
  if (!isEnded) return { kind: "canceled", notices: [], isEnded };
  // Unless another exporter of that name has begun meanwhile.
  if (readUploadFile(storage, task)?.equals(kept) === true) removeUploadFile(storage, task);
  return { kind: "canceled", notices: canceled?.notices ?? [], isEnded };
}
