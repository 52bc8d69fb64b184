import { assert } from "../core/assert.ts";
import type { Clock } from "../core/clock.ts";
import { encodePadding } from "./block-layout.ts";
import type { DirectoryFence } from "./directory-fence.ts";
import type { LogPolicy } from "./log-policy.ts";
import type { SegmentEnd, SegmentWriter } from "./segment-writer.ts";
import type { StorageHealth } from "./storage-health.ts";
import type { UnsyncedWindow } from "./unsynced-window.ts";
import type { WriteAccount } from "./write-account.ts";

export interface SegmentSyncsOptions {
  readonly clock: Clock;
  readonly health: StorageHealth;
  readonly fence: DirectoryFence;
  readonly window: UnsyncedWindow;
  readonly writes: Pick<WriteAccount, "noteSync">;
  readonly log: {
    readonly active: SegmentWriter | undefined;
    readonly policy: LogPolicy;
    takeBack(active: SegmentWriter, error: Error): void;
  };
  /** Ends the segment at its synced end: what a failed sync covered can be trusted no more. */
  readonly poison: (active: SegmentWriter) => void;
}

/** Makes the active segment durable, at most one sync at a time. No segment is synced again after a sync of it has failed. */
export class SegmentSyncs {
  readonly #options: SegmentSyncsOptions;
  /** The segment whose sync runs. */
  #syncing: SegmentWriter | undefined;

  constructor(options: SegmentSyncsOptions) {
    this.#options = options;
  }

  get isRunning(): boolean {
    return this.#syncing !== undefined;
  }

  /**
   * The next write must not touch a unit of the medium that holds synced bytes, which may be acknowledged or exported: a power
   * cut may destroy it.
   * @returns false when a failed write cost the segment
   */
  pad(active: SegmentWriter): boolean {
    const { log } = this.#options;
    const padding = encodePadding(active.position, log.policy.commitAlignBytes);
    if (padding === undefined) return true;
    const outcome = active.writeFiller(padding);
    if (outcome.error === undefined) return true;
    active.isEnded = true;
    log.takeBack(active, outcome.error);
    return log.active === active;
  }

  /**
   * Starts a sync of everything in the active segment. `done` hears whether its messages are durable now; if not, the segment
   * is gone and the window waits for a new one, or the stream is fenced. @returns false when there is no segment to sync: nothing was started
   */
  start(done: (isDurable: boolean) => void): boolean {
    assert(this.#syncing === undefined, "one sync at a time");
    const { active } = this.#options.log;
    if (active === undefined || !this.pad(active)) return false;
    const { position, endSequence, endPayloadOffset } = active;
    this.#syncing = active;
    active.file.sync((error) => {
      this.#syncing = undefined;
      done(this.#end(active, { position, endSequence, endPayloadOffset }, error));
    });
    return true;
  }

  #end(segment: SegmentWriter, covered: SegmentEnd, error: Error | undefined): boolean {
    if (this.#options.log.active !== segment) return true;
    if (error === undefined) {
      // The medium has it, and no start would find it there.
      if (!this.#options.fence.holds()) return false;
      this.note(segment, covered);
      return true;
    }
    this.#options.health.noteFailure(error);
    this.#options.poison(segment);
    return false;
  }

  /** A sync that blocks, before the end. @returns false as `start` tells `done`, and when there is no segment for what waits */
  now(): boolean {
    const { log, window, health, fence, poison } = this.#options;
    const { active } = log;
    if (window.isEmpty) return true;
    if (active === undefined || !fence.holds() || !this.pad(active)) return false;
    try {
      active.file.syncNow();
    } catch (error) {
      health.noteFailure(error);
      poison(active);
      return false;
    }
    // A sync that runs beside may have taken the verdict; then its callback decides.
    if (this.#syncing === undefined) this.note(active, active);
    return true;
  }

  /** A sync that covered everything up to `end` came back. */
  note(segment: SegmentWriter, end: SegmentEnd): void {
    segment.noteSynced(end);
    this.#options.writes.noteSync();
    this.#options.window.dropBelow(end.endSequence, this.#options.clock.monotonicMs());
  }
}
