import { MillraceError } from "../core/errors.ts";
import { DISK_ROOM_DELETIONS_MAX, RELEASED_IDLE_MS } from "../core/limits.ts";
import { StrategyOnFull } from "../core/stream-definition.ts";
import { LossReason } from "../core/stream-ledger.ts";
import { busy } from "./append-refusals.ts";
import type { DiskRoom } from "./disk-room.ts";
import type { LogPolicy } from "./log-policy.ts";
import type { LogSegments } from "./log-segments.ts";
import type { StorageHealth } from "./storage-health.ts";

/**
 * Makes room in a stream, by whole segments: what is released goes first, which nobody needs any more, then, where the strategy
 * says so, the oldest.
 */
export class StreamRoom {
  readonly #segments: LogSegments;
  readonly #health: StorageHealth;
  readonly #disk: DiskRoom | undefined;
  /** Of the files, as the account of the disk has them. */
  #notedBytes: number;
  /** Exclusive; 0 releases nothing. It may go back: an exporter that is added holds messages again. */
  releasedEnd = 0;

  constructor(segments: LogSegments, health: StorageHealth, disk: DiskRoom | undefined) {
    this.#segments = segments;
    this.#health = health;
    this.#disk = disk;
    this.#notedBytes = segments.storedBytes;
  }

  get isDiskShort(): boolean {
    return this.#disk?.isShort === true;
  }

  /** Makes room for `costBytes` below the policy's maxSize. @throws {MillraceError} as StreamLog.admit */
  make(costBytes: number, { maxSize, strategyOnFull }: LogPolicy): void {
    if (costBytes > maxSize) {
      const text = `Cannot append ${costBytes} bytes: the stream holds at most ${maxSize}`;
      throw new MillraceError("MESSAGE_TOO_LARGE", text);
    }
    const segments = this.#segments;
    while (segments.totalBytes + costBytes > maxSize) {
      if (this.#freeReleased()) continue;
      if (strategyOnFull === StrategyOnFull.RejectNewData) {
        const held = `${segments.totalBytes} of ${maxSize} bytes`;
        throw new MillraceError(
          "STREAM_FULL",
          `Cannot append ${costBytes} bytes: the stream is full, ${held}`,
        );
      }
      if (segments.complete.length === 0) this.#completeActive();
      const accountedBytes = segments.totalBytes + costBytes - maxSize;
      segments.dropOldest(LossReason.Overwritten, segments.complete.countFor({ accountedBytes }));
    }
    if (this.#disk === undefined) return;
    this.#noteGrowth(this.#disk);
    if (this.#disk.isShort) this.#makeOnDisk(costBytes, this.#disk, strategyOnFull);
  }

  /**
   * Below what is to be kept free on the disk a stream is full. What it may delete goes, down to its active segment; a stream
   * that still has something to delete takes the append, which is less than what was freed for it.
   */
  #makeOnDisk(costBytes: number, disk: DiskRoom, strategyOnFull: StrategyOnFull): void {
    const segments = this.#segments;
    for (let left = DISK_ROOM_DELETIONS_MAX; left > 0 && disk.isShort; left--) {
      if (!this.#freeReleased()) {
        const mayDelete = strategyOnFull === StrategyOnFull.OverwriteOldestData;
        const count = mayDelete ? segments.complete.countFor({ storedBytes: disk.lackingBytes }) : 0;
        if (count === 0) throw fullDisk(costBytes, disk);
        segments.dropOldest(LossReason.Overwritten, count);
      }
      this.#noteGrowth(disk);
      disk.ask();
    }
    if (disk.isShort && segments.complete.length === 0) throw fullDisk(costBytes, disk);
  }

  #noteGrowth(disk: DiskRoom): void {
    const { storedBytes } = this.#segments;
    disk.noteGrowth(storedBytes - this.#notedBytes);
    this.#notedBytes = storedBytes;
  }

  /** Lets go of what is released, of a stream that nothing was appended to for `idleMs`. */
  tick(idleMs: number): void {
    if (this.#health.state !== "ok" || this.#segments.syncs.isRunning) return;
    try {
      if (idleMs >= RELEASED_IDLE_MS) this.#freeReleased();
      else this.#freeComplete();
    } catch {
      // Noted where it happened; a later tick tries again.
    }
  }

  /** Deletes the complete segments that are released. @returns whether there were any @throws {MillraceError} */
  #freeComplete(): boolean {
    const count = this.#segments.complete.countBelow(this.releasedEnd);
    if (count > 0) this.#segments.dropOldest(LossReason.Deleted, count);
    return count > 0;
  }

  /**
   * Where nothing but the active segment is left and all of it is released, that goes too.
   * @throws {MillraceError} SERVER_BUSY while a sync of it runs
   */
  #freeReleased(): boolean {
    const { active } = this.#segments;
    if (this.#freeComplete()) return true;
    const isReleased =
      active !== undefined && active.messageCount > 0 && active.endSequence <= this.releasedEnd;
    if (!isReleased) return false;
    this.#completeActive();
    return this.#freeComplete();
  }

  /** The only segment holds everything: it is completed, so that it can be deleted. */
  #completeActive(): void {
    if (this.#segments.syncs.isRunning) throw busy("its only segment is being synced");
    this.#segments.roll();
    // The sequence numbers live on in the name of a successor.
    this.#segments.ensureActive();
  }
}

function fullDisk(costBytes: number, { freeBytes, freeBytesMin }: DiskRoom): MillraceError {
  const text = `the disk has ${Math.max(0, freeBytes)} bytes free, MILLRACE_DISK_FREE_MIN_BYTES keeps ${freeBytesMin}`;
  return new MillraceError("STREAM_FULL", `Cannot append ${costBytes} bytes: the stream is full, ${text}`);
}
