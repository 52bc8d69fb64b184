import type { Clock } from "../core/clock.ts";
import { DISK_ROOM_ASK_MS, DISK_ROOM_CONFIRM_MS } from "../core/limits.ts";
import type { Storage } from "./storage.ts";

/**
 * Whether the disk has more free than is to be kept free on it. One for all streams of a thread. The system is asked now and
 * then only; what is written meanwhile counts at once, what others write or free with the next answer.
 */
export class DiskRoom {
  readonly #storage: Storage;
  readonly #directory: string;
  readonly #clock: Clock;
  readonly freeBytesMin: number;
  #freeBytes = Infinity;
  #askedMs = -Infinity;
  /** Nothing is known of it but what the system answered. */
  #isAnswer = true;

  constructor(options: {
    readonly storage: Storage;
    readonly directory: string;
    readonly clock: Clock;
    readonly freeBytesMin: number;
  }) {
    this.#storage = options.storage;
    this.#directory = options.directory;
    this.#clock = options.clock;
    this.freeBytesMin = options.freeBytesMin;
  }

  /** As it was answered last, less what was written since. */
  get freeBytes(): number {
    return this.#freeBytes;
  }

  /** What must be freed; 0 or less when there is enough. */
  get lackingBytes(): number {
    const sinceMs = this.#clock.monotonicMs() - this.#askedMs;
    // Before anything is refused or deleted for it, a sum of our own is held against the system's.
    const isDoubtful = !this.#isAnswer && this.#freeBytes < this.freeBytesMin;
    if (sinceMs >= (isDoubtful ? DISK_ROOM_CONFIRM_MS : DISK_ROOM_ASK_MS)) this.ask();
    return this.freeBytesMin - this.#freeBytes;
  }

  get isShort(): boolean {
    return this.lackingBytes > 0;
  }

  /** Files have grown by this much, or shrunk. */
  noteGrowth(sizeBytes: number): void {
    this.#freeBytes -= sizeBytes;
    this.#isAnswer &&= sizeBytes === 0;
  }

  /** For whoever has just freed something; everyone else looks at what is known. */
  ask(): void {
    this.#askedMs = this.#clock.monotonicMs();
    try {
      this.#freeBytes = this.#storage.freeBytes(this.#directory);
      this.#isAnswer = true;
    } catch {
      // What was known holds until it answers again; a disk that fails is noticed where it is written to.
    }
  }
}
