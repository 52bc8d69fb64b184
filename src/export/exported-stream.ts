import type { StreamLoss, StreamPlace } from "../core/stream-ledger.ts";

/** What exporters know of their stream. */
export interface ExportedStream {
  readonly streamId: string;
  readonly name: string;
  readonly directory: string;
  readonly isMemory: boolean;
  /** What is gone from its front, oldest first and without holes (core/stream-ledger.ts). */
  readonly drops: () => readonly StreamLoss[];
  oldest: StreamPlace;
  /** Exporters may read below. */
  syncedEnd: StreamPlace;
  next: StreamPlace;
}
