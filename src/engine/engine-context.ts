import type { Clock } from "../core/clock.ts";
import type { Random } from "../core/random.ts";
import type { StreamOptions } from "../core/stream-options.ts";
import type { Timers } from "../core/timers.ts";
import type { ExportManager } from "../export/export-manager.ts";
import type { RedriveOwner } from "../export/redrives.ts";
import type { StoredDefinition } from "../stream/definition-file.ts";
import type { StreamWorkerSettings } from "../stream/stream-channel.ts";
import type { StreamWorkers } from "../stream/stream-workers.ts";
import type { Catalog } from "./catalog.ts";
import type { ClientState } from "./client-state.ts";
import type { DiskOutlook } from "./disk-outlook.ts";
import type { StreamEntry } from "./stream-entry.ts";

/** What the engine needs of the exports. */
export type ExportOwner = Pick<
  ExportManager,
  | "addStream"
  | "updateStream"
  | "removeStream"
  | "onProgress"
  | "statuses"
  | "durablePosition"
  | "ledgers"
  | "states"
  | "retry"
> & { readonly redrives: RedriveOwner };

/** The streams that hold what destinations will never take: see companion-streams.ts. */
export interface CompanionOwner {
  /** The companion of the stream of this name, whether that is there or not; undefined where nothing was set aside. */
  of(streamName: string): StreamEntry | undefined;
  /** Gives a companion that is there the size and the policy that the options of its stream name now. */
  configure(streamName: string, options: StreamOptions): Promise<void>;
}

/** What the handlers of operations work with. */
export interface EngineContext {
  readonly clock: Clock;
  readonly random: Random;
  readonly timers: Timers;
  readonly storeDirectory: string;
  readonly messageBytesMax: number;
  /** Within these exporters may write files. */
  readonly fileDirectories: readonly string[];
  readonly workerSettings: StreamWorkerSettings;
  readonly catalog: Catalog;
  readonly workers: StreamWorkers;
  readonly exports: ExportOwner;
  readonly disk: Pick<DiskOutlook, "fullInMs">;
  readonly companions: CompanionOwner;
  /** Opens a stream again that a failed deletion left in doubt, now or when its worker runs again. */
  reopenAfterDeletion(entry: StreamEntry): void;
  /** A change of an open stream is stored: it holds here and for the exporters too. */
  adoptChange(entry: StreamEntry, change: StoredDefinition): void;
  /** Lets the exporters of an open stream begin. */
  startExports(entry: StreamEntry): void;
  /** A request failed by a fault of ours. */
  noteFailedRequest(operation: number, thrown: unknown): void;
  /** Its progress records are about this stream from now on. */
  registerSlot(entry: StreamEntry): void;
  /** The stream is gone, and nothing keeps it any more. */
  releaseSlot(entry: StreamEntry): void;
  /** Its gathered append results are to be sent at the end of this round. */
  markReplying(client: ClientState): void;
  /** The stream's ring is full: the connection is not read until it has room. */
  waitForRoom(client: ClientState, workerIndex: number): void;
}
