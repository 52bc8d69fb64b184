import type { BatchResult } from "./export-channel.ts";

/** What describe says of how a batch ended; empty if there is nothing to say. */
export function errorOf({ outcome, setAside, setAsideError, cursorError }: BatchResult): string {
  if (cursorError !== "") return `cannot write the export position: ${cursorError}`;
  if (setAside.length > 0) {
    return (
      `set aside ${setAside.length} messages, the last with sequence number ${setAside.at(-1)!}: ${setAsideError}; ` +
      "it stays in the stream, sending it again by command comes with a later version"
    );
  }
  return outcome.kind === "passed" || outcome.kind === "progress" ? "" : outcome.error;
}
