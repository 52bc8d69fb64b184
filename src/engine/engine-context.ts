import type { Clock } from "../core/clock.ts";
import type { Random } from "../core/random.ts";
import type { ExportManager } from "../export/export-manager.ts";
import type { StreamWorkers } from "../stream/stream-workers.ts";
import type { Catalog } from "./catalog.ts";
import type { ClientState } from "./client-state.ts";
import type { StreamEntry } from "./stream-entry.ts";

/** What the engine needs of the exports. */
export type ExportOwner = Pick<ExportManager, "addStream" | "removeStream" | "onProgress" | "statuses">;

/** What the handlers of operations work with. */
export interface EngineContext {
  readonly clock: Clock;
  readonly random: Random;
  readonly storeDirectory: string;
  readonly messageBytesMax: number;
  readonly catalog: Catalog;
  readonly workers: StreamWorkers;
  readonly exports: ExportOwner;
  /** Opens a stream again that a failed deletion left in doubt, now or when its worker runs again. */
  reopenAfterDeletion(entry: StreamEntry): void;
  /** Lets the exporters of an open stream begin. */
  startExports(entry: StreamEntry): void;
  /** Its progress records are about this stream from now on. */
  registerSlot(entry: StreamEntry): void;
  /** Its gathered append results are to be sent at the end of this round. */
  markReplying(client: ClientState): void;
  /** The stream's ring is full: the connection is not read until it has room. */
  waitForRoom(client: ClientState, workerIndex: number): void;
}
