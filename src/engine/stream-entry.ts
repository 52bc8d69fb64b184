import type { StreamDefinition } from "../core/stream-definition.ts";
import { emptyProgress, type StreamProgress } from "../stream/stream-channel.ts";

export type StreamLifecycle = "opening" | "open" | "recovering" | "fenced" | "deleting" | "gone";

/** A stream as the main thread knows it. */
export interface StreamEntry {
  readonly streamId: string;
  readonly directory: string;
  definition: StreamDefinition;
  /** Which worker owns it, and its number there. A slot is never given to another stream while the worker lives. */
  readonly workerIndex: number;
  slot: number;
  lifecycle: StreamLifecycle;
  /** Why it is fenced. */
  fault: string;
  /** A deletion failed, or its worker died over it: the stream may be gone or not. */
  isDeletionInDoubt?: true;
  /** Whether the exports know it. */
  isExported: boolean;
  progress: StreamProgress;
  /** Since this process started. */
  appendedMessageCount: number;
  appendedBytes: number;
  refusedCount: number;
}

/** An entry of which nothing is known yet but where it is. */
export function newStreamEntry(
  place: Pick<StreamEntry, "streamId" | "directory" | "definition" | "workerIndex" | "slot">,
  lifecycle: StreamLifecycle,
): StreamEntry {
  return {
    ...place,
    lifecycle,
    fault: "",
    isExported: false,
    progress: emptyProgress,
    appendedMessageCount: 0,
    appendedBytes: 0,
    refusedCount: 0,
  };
}
