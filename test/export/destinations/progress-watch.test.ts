import assert from "node:assert/strict";
import type { Agent } from "node:http";
import { PassThrough, type Duplex } from "node:stream";
import { test } from "node:test";
import { EXPORT_ANSWER_BYTES_PER_SECOND_MIN, EXPORT_PROGRESS_MS_MAX } from "../../../src/core/limits.ts";
import type { Timers } from "../../../src/core/timers.ts";
import { ProgressWatch } from "../../../src/export/destinations/progress-watch.ts";
import { ManualClock } from "../../support/deterministic.ts";

const BATCH_BYTES = 5 * 1024 * 1024;

/** What a watch asks a socket. */
class WatchedSocket extends PassThrough {
  bytesWritten = 0;
  bytesRead = 0;
  unacknowledged = 0;
}

/** A watch over one socket, under a clock that moves a second at a time. */
class WatchBench {
  readonly socket = new WatchedSocket();
  readonly watch: ProgressWatch;
  readonly #clock = new ManualClock();
  readonly #sockets: { a: Duplex[] } = { a: [this.socket] };
  #timer: { readonly atMs: number; readonly action: () => void } | undefined;
  looks = 0;
  error: Error | undefined;

  constructor({ tellsQueues = true }: { tellsQueues?: boolean } = {}) {
    this.socket.on("error", (error) => (this.error = error));
    const timers: Timers = {
      setTimer: (action, delayMs) => {
        this.#timer = { atMs: this.#clock.monotonicMs() + delayMs, action };
        return () => (this.#timer = undefined);
      },
    };
    this.watch = new ProgressWatch({
      agents: [{ sockets: this.#sockets } as unknown as Agent],
      progressMsMax: EXPORT_PROGRESS_MS_MAX,
      clock: this.#clock,
      timers,
      readSendQueues: () => {
        this.looks += 1;
        return (socket) => (tellsQueues ? (socket as unknown as WatchedSocket).unacknowledged : undefined);
      },
    });
  }

  get isRunning(): boolean {
    return this.#timer !== undefined;
  }

  release(): void {
    this.#sockets.a = [];
  }

  /** Lets seconds pass, `each` of them in turn. @returns the seconds until the request was given up, or all of them */
  async pass(seconds: number, each: (second: number) => void = () => undefined): Promise<number> {
    for (let second = 1; second <= seconds; second += 1) {
      each(second);
      this.#clock.advance(1000);
      const timer = this.#timer;
      if (timer !== undefined && timer.atMs <= this.#clock.monotonicMs()) {
        this.#timer = undefined;
        timer.action();
        await new Promise(setImmediate);
      }
      if (this.error !== undefined) return second;
    }
    return seconds;
  }
}

test("ProgressWatch lets a batch take many minutes that a slow link acknowledges bit by bit", async () => {
  const bench = new WatchBench();
  bench.watch.start();
  const { socket } = bench;
  socket.bytesWritten = BATCH_BYTES;
  // The kernel takes half of it at once; a slow link acknowledges what it lost only after many seconds.
  await bench.pass(425, (second) => {
    if (second % 25 === 0) socket.unacknowledged = Math.max(0, 2_500_000 - second * 6250);
    else if (second === 1) socket.unacknowledged = 2_500_000;
  });
  assert.equal(bench.error?.message, undefined);
});

test("ProgressWatch gives up a request of which nothing is acknowledged any more", async () => {
  for (const acknowledgedFor of [0, 300]) {
    const bench = new WatchBench();
    bench.watch.start();
    bench.socket.bytesWritten = BATCH_BYTES;
    const seconds = await bench.pass(900, (second) => {
      bench.socket.unacknowledged = 2_500_000 - Math.min(second, acknowledgedFor) * 6250;
    });
    assert.ok(seconds >= acknowledgedFor + 30 && seconds <= acknowledgedFor + 40, `after ${seconds} s`);
    assert.equal(bench.error?.name, "TimeoutError");
    assert.equal(bench.error.message, "no progress for 30 s");
  }
});

test("ProgressWatch gives up an answer that trickles, and tells whoever reads it", async () => {
  for (const { rate, isGivenUp } of [
    { rate: EXPORT_ANSWER_BYTES_PER_SECOND_MIN / 4, isGivenUp: true },
    { rate: EXPORT_ANSWER_BYTES_PER_SECOND_MIN * 1.5, isGivenUp: false },
  ]) {
    const bench = new WatchBench();
    bench.watch.start();
    const answer = new PassThrough();
    let told: Error | undefined;
    answer.on("error", (error) => (told = error));
    bench.watch.noteAnswer(bench.socket, answer);
    const seconds = await bench.pass(900, (second) => (bench.socket.bytesRead = second * rate));
    assert.equal(seconds < 60, isGivenUp);
    assert.equal(told?.name, isGivenUp ? "TimeoutError" : undefined);
  }
});

test("ProgressWatch goes by the bytes of requests and answers where the system does not tell of its queues", async () => {
  const bench = new WatchBench({ tellsQueues: false });
  bench.watch.start();
  // A connection that serves request after request is never idle for long.
  await bench.pass(300, (second) => (bench.socket.bytesWritten = 1000 * Math.ceil(second / 20)));
  assert.equal(bench.error?.message, undefined);
  const seconds = await bench.pass(300);
  assert.ok(seconds <= 40, `after ${seconds} s`);
});

test("ProgressWatch looks at nothing while no socket has a request", async () => {
  const bench = new WatchBench();
  bench.watch.start();
  await bench.pass(20);
  bench.release();
  await bench.pass(20);
  const { looks } = bench;
  assert.equal(bench.isRunning, false);
  await bench.pass(600);
  assert.equal(bench.looks, looks);
});
