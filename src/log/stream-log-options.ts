import type { MachineClock } from "../core/clock.ts";
import type { Random } from "../core/random.ts";
import type { StreamPlace } from "../core/stream-ledger.ts";
import type { DiskRoom } from "./disk-room.ts";
import type { LogPolicy } from "./log-policy.ts";
import type { Storage } from "./storage.ts";
import type { WatchedClocks } from "./stream-clock.ts";

export interface StreamLogOptions {
  readonly storage: Storage;
  readonly directory: string;
  /** 32 hexadecimal digits. */
  readonly streamId: string;
  /** The store's start counter. */
  readonly epoch: number;
  readonly clock: MachineClock;
  /** Shared by all logs of a thread; its owner samples it as often as it stamps messages. A log alone makes its own. */
  readonly watch?: WatchedClocks | undefined;
  /** Shared by all logs of a thread on one disk; without it nothing is kept free. */
  readonly diskRoom?: DiskRoom | undefined;
  /** The name of the directory is on the medium: whoever opens many streams has synced the directory above, once for all of them. */
  readonly isNameDurable?: boolean;
  readonly random: Random;
  readonly policy: LogPolicy;
  /** Messages below were seen durable by someone else (an export cursor); their absence is a loss to report (R4). */
  readonly knownEnd?: StreamPlace | undefined;
  /** The last process did not end cleanly: without flushOnWrite, numbers from the end on may have been given before (A5). */
  readonly isEndUnclean?: boolean;
  /** Where recovery keeps what it takes out of damaged files (quarantine.ts); undefined: nowhere. */
  readonly quarantineDirectory?: string | undefined;
  /** Raw size of the blocks that complete segments are rewritten in; undefined: they stay as they are. */
  readonly rewriteBlockBytes?: number | undefined;
}
