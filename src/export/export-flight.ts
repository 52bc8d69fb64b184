import type { Random } from "../core/random.ts";
import type { StreamPlace } from "../core/stream-ledger.ts";
import type { SharedFile } from "../log/shared-memory-storage.ts";
import type { TaskRecall } from "./task-recall.ts";
import type { EndpointTicket } from "./endpoint-backoff.ts";

/** When a task begins, the segments of a Memory stream that it may read, and the bandwidth cap over all exporters. */
export interface TaskStart {
  readonly kbitPerSecondMax: number | undefined;
  readonly nowMs: number;
  readonly wallMs: number;
  readonly memory: readonly SharedFile[] | undefined;
  /** See BatchTask. */
  readonly windowsMax?: number;
}

/** When a task has ended. */
export interface TaskEnd {
  readonly nowMs: number;
  readonly wallMs: number;
  readonly random: Random;
}

/** What the scheduler's view of an exporter depends on beside the exporter. */
export interface ViewOptions {
  readonly nowMs: number;
  /** The bandwidth cap over all exporters. */
  readonly kbitPerSecondMax: number | undefined;
  readonly shareOwedBytes: number;
}

/** What a task began with. */
export interface FlightStart {
  /** Undefined for a task that asks no destination. */
  readonly ticket: EndpointTicket | undefined;
  /** What its request bodies should take. */
  readonly expectedBytes: number;
}

/** What is under way for an exporter. */
export interface Flight extends FlightStart {
  /** Where it may be called back. */
  readonly recall: TaskRecall | undefined;
  /** Monotonic: no link explains a task that is out for longer. */
  readonly stuckAtMs: number;
  readonly moveCount: number;
  /** The oldest message when it began: what is in the batch may be gone from the log since, and is not lost for that. */
  readonly oldest: StreamPlace;
  /** Messages from here on are not part of it. */
  readonly endSequence: number;
}
