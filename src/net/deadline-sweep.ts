import type { Socket } from "node:net";
import type { Clock } from "../core/clock.ts";

/** Something that must not take for ever. */
export interface Watched {
  /** `nowMs` is monotonic. May take itself or others out of the sweep. */
  checkDeadlines(nowMs: number): void;
}

/** One timer for all deadlines of a port: a timer per connection and frame would cost more than the frame. Idle, there is none. */
export class DeadlineSweep {
  readonly #clock: Clock;
  readonly #intervalMs: number;
  readonly #watched = new Set<Watched>();
  #timer: NodeJS.Timeout | undefined;

  constructor(options: { clock: Clock; intervalMs: number }) {
    this.#clock = options.clock;
    this.#intervalMs = options.intervalMs;
  }

  get nowMs(): number {
    return this.#clock.monotonicMs();
  }

  add(watched: Watched): void {
    this.#watched.add(watched);
    this.#timer ??= setInterval(() => this.#sweep(), this.#intervalMs);
  }

  remove(watched: Watched): void {
    this.#watched.delete(watched);
    if (this.#watched.size > 0) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  #sweep(): void {
    const nowMs = this.#clock.monotonicMs();
    for (const watched of this.#watched) watched.checkDeadlines(nowMs);
  }
}

/**
 * Ends our side after all that was written, then reads and throws away what the peer still sends until it ends too: closing
 * a socket with unread input makes the kernel send a reset, and a reset destroys replies that the peer has not read yet.
 * After `deadlineMs` the socket goes regardless.
 */
export function finishSocket(socket: Socket, options: { sweep: DeadlineSweep; deadlineMs: number }): void {
  const { sweep, deadlineMs } = options;
  if (socket.destroyed) return;
  const expiresMs = sweep.nowMs + deadlineMs;
  const watched: Watched = {
    checkDeadlines: (nowMs) => {
      if (nowMs >= expiresMs) socket.destroy();
    },
  };
  sweep.add(watched);
  socket.once("close", () => sweep.remove(watched));
  socket.end();
  socket.resume();
}
