import type { Socket } from "node:net";

/** The sending half of a session: joins what is sent in one turn into one write, and sees when the peer does not read. */
export class Outbound {
  readonly #socket: Socket;
  readonly #bufferedBytesMax: number;
  readonly #uncork = (): void => {
    this.#isCorked = false;
    this.#socket.uncork();
  };
  #isCorked = false;
  #isOverLimit = false;
  #takenBytes = 0;
  #stuckSinceMs: number | undefined;

  constructor(options: { socket: Socket; bufferedBytesMax: number; onDrain: () => void }) {
    this.#socket = options.socket;
    this.#bufferedBytesMax = options.bufferedBytesMax;
    this.#socket.on("drain", () => {
      if (!this.#isOverLimit) return;
      this.#isOverLimit = false;
      options.onDrain();
    });
  }

  get bufferedBytes(): number {
    return this.#socket.writableLength;
  }

  /** To be called before each send: what is sent until the end of this turn leaves in one system call. */
  open(): void {
    if (this.#isCorked) return;
    this.#isCorked = true;
    this.#socket.cork();
    process.nextTick(this.#uncork);
  }

  /** To be called after each send. */
  note(): void {
    if (this.#socket.writableLength > this.#bufferedBytesMax) this.#isOverLimit = true;
  }

  /** Whether the peer has taken nothing for `deadlineMs` although there was something to take. */
  isStuck(nowMs: number, deadlineMs: number): boolean {
    const buffered = this.#socket.writableLength;
    const takenBytes = this.#socket.bytesWritten - buffered;
    if (buffered === 0 || takenBytes !== this.#takenBytes) {
      this.#takenBytes = takenBytes;
      this.#stuckSinceMs = undefined;
      return false;
    }
    this.#stuckSinceMs ??= nowMs;
    return nowMs - this.#stuckSinceMs >= deadlineMs;
  }
}
