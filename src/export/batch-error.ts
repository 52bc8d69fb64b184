import { isSetAside, type PendingBatch } from "./delivery.ts";
import type { BatchOutcome, BatchResult } from "./export-channel.ts";

/**
 * What describe says of how a batch ended, empty if there is nothing to say. Undefined where what was said before holds: the task
 * only passed what was set aside of `batch`.
 */
export function errorOf(
  { outcome, told, cursorError }: BatchResult,
  batch: PendingBatch | undefined,
): string | undefined {
  if (cursorError !== "") return `cannot write the export position: ${cursorError}`;
  if (told !== undefined && told.failure !== "") return told.failure;
  const last = told?.sequences.at(-1);
  if (told !== undefined && last !== undefined) {
    const { length } = told.sequences;
    const [count, which, them] =
      length === 1 ? ["1 message", "", "it"] : [`${length} messages`, "the last ", "them"];
    return (
      `set aside ${count} in stream "${told.streamName}", ${which}with sequence number ${last}: ${told.reason}; ` +
      `"millrace exports redrive" sends ${them} again`
    );
  }
  if (outcome.kind === "passed") return batch?.entries.some(isSetAside) === true ? undefined : "";
  return outcome.kind === "progress" ? "" : outcome.error;
}

/** Where messages could not be set aside, the exporter waits as it does where the log cannot be read. */
export function pacedOutcome({ outcome, told }: BatchResult): BatchOutcome {
  const error = told?.failure ?? "";
  return error === "" ? outcome : { kind: "unreadable", error };
}
