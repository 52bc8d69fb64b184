import type { Agent } from "node:http";
import type { Socket } from "node:net";
import type { Duplex } from "node:stream";
import type { Clock } from "../../core/clock.ts";
import { EXPORT_ANSWER_BYTES_PER_SECOND_MIN } from "../../core/limits.ts";
import type { Timers } from "../../core/timers.ts";
import type { SendQueues } from "./kernel-send-queue.ts";

/** So often within the time without progress that is allowed. */
const LOOKS = 8;

interface ProgressWatchOptions {
  /** Whose sockets with a request on them are watched. */
  readonly agents: readonly Agent[];
  readonly progressMsMax: number;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly readSendQueues: () => SendQueues;
}

/** What a socket has done by the last look that found a difference. */
interface Progress {
  readonly bytesWritten: number;
  readonly bytesRead: number;
  readonly unacknowledged: number | undefined;
  readonly atMs: number;
  /** When it last sent something, and what had been read by then. */
  readonly sentAtMs: number;
  readonly bytesReadBefore: number;
}

/**
 * Gives up requests that make no progress, however long they take: a batch of megabytes over a slow link is sent for many
 * minutes, and a connection whose other side is gone looks just the same but for the bytes that are acknowledged. Bytes of
 * the answer are progress too, if they come at a least rate: one that trickles would never end.
 */
export class ProgressWatch {
  readonly #options: ProgressWatchOptions;
  readonly #answers = new WeakMap<Duplex, Duplex>();
  #sockets = new Map<Duplex, Progress>();
  #isRunning = false;

  constructor(options: ProgressWatchOptions) {
    this.#options = options;
  }

  /** Looks from now on, until no socket has a request. */
  start(): void {
    if (this.#isRunning) return;
    this.#isRunning = true;
    this.#setTimer();
  }

  /** Who reads `answer`, which arrives on `socket`, hears of it when its request is given up. */
  noteAnswer(socket: Duplex, answer: Duplex): void {
    this.#answers.set(socket, answer);
    answer.once("close", () => {
      if (this.#answers.get(socket) === answer) this.#answers.delete(socket);
    });
  }

  #setTimer(): void {
    this.#options.timers.setTimer(() => this.#look(), this.#options.progressMsMax / LOOKS);
  }

  #look(): void {
    const { agents, clock, readSendQueues } = this.#options;
    const nowMs = clock.monotonicMs();
    const active = agents.flatMap(({ sockets }) => Object.values(sockets).flatMap((list) => list ?? []));
    this.#isRunning = active.length > 0;
    if (!this.#isRunning) {
      this.#sockets.clear();
      return;
    }
    const queueOf = readSendQueues();
    const seen = new Map<Duplex, Progress>();
    for (const socket of active) {
      const progress = progressOf(socket, { before: this.#sockets.get(socket), queueOf, nowMs });
      if (this.#deadlineMs(progress) <= nowMs) this.#giveUp(socket);
      else seen.set(socket, progress);
    }
    this.#sockets = seen;
    this.#setTimer();
  }

  #deadlineMs({ atMs, sentAtMs, bytesRead, bytesReadBefore }: Progress): number {
    const answeredMs = (1000 * (bytesRead - bytesReadBefore)) / EXPORT_ANSWER_BYTES_PER_SECOND_MIN;
    return Math.min(atMs, sentAtMs + answeredMs) + this.#options.progressMsMax;
  }

  #giveUp(socket: Duplex): void {
    const error = new Error(`no progress for ${this.#options.progressMsMax / 1000} s`);
    error.name = "TimeoutError";
    // The answer first: the end of its socket would reach it as a reset connection.
    this.#answers.get(socket)?.destroy(error);
    socket.destroy(error);
  }
}

function progressOf(
  socket: Socket,
  { before, queueOf, nowMs }: { before: Progress | undefined; queueOf: SendQueues; nowMs: number },
): Progress {
  const { bytesWritten, bytesRead } = socket;
  const unacknowledged = queueOf(socket);
  const seen = { bytesWritten, bytesRead, unacknowledged };
  if (before?.bytesWritten !== bytesWritten || before.unacknowledged !== unacknowledged) {
    return { ...seen, atMs: nowMs, sentAtMs: nowMs, bytesReadBefore: bytesRead };
  }
  return before.bytesRead === bytesRead ? before : { ...before, bytesRead, atMs: nowMs };
}
