import type { Clock } from "../core/clock.ts";
import type { ExportMapRule } from "../core/export-map.ts";
import type { Random } from "../core/random.ts";
import type { Timers } from "../core/timers.ts";
import type { Storage } from "../log/storage.ts";
import type { ThreadsOptions } from "../native/thread-placement.ts";
import type { Logger } from "../observe/logger.ts";
import type { StreamNotice } from "./destinations/destination.ts";
import type { TaskPool } from "./export-pool.ts";
import type { KeepAside } from "./set-aside-keeper.ts";
import type { DestinationEnvironment } from "./worker-settings.ts";

export interface ExportManagerOptions {
  readonly clock: Clock;
  readonly random: Random;
  readonly storage: Storage;
  readonly storeDirectory: string;
  /** Batches at the same time. */
  readonly threadPoolSize?: number;
  /** Of the request bodies of all exporters together, on average; undefined for no cap. */
  readonly kbitPerSecondMax?: number | undefined;
  /** Threads that they share: an upload mostly waits. */
  readonly threadsMax?: number;
  /** Where they run; anywhere by default. */
  readonly threads?: ThreadsOptions;
  readonly logger: Logger;
  /** What destinations take from this machine's settings. */
  readonly destinations?: DestinationEnvironment;
  /** MILLRACE_EXPORT_MAP */
  readonly exportMap?: readonly ExportMapRule[];
  /** Of the export workers, for SDKs that read their configuration from it; this process's own by default. */
  readonly environment?: Readonly<Record<string, string | undefined>> | undefined;
  readonly timers?: Timers;
  readonly pool?: TaskPool;
  /** Appends what destinations have to tell to other streams; without it nobody is told. @throws {MillraceError} */
  readonly appendNotice?: (notice: StreamNotice) => Promise<unknown>;
  /** Stores messages that their destination will never take: before it has, no exporter passes one. */
  readonly keepAside: KeepAside;
  /** Called after every batch of the stream, and whenever a cursor of it has become durable. */
  readonly onStatusChange?: (streamId: string) => void;
  /** Called when an exporter found nothing readable at a sequence number of the stream. */
  readonly onGap?: (streamId: string, sequence: number) => void;
}
