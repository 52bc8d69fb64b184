import type { Clock } from "../core/clock.ts";
import { INGEST_LOOK_MS, INGEST_LOOK_WAIT_MS } from "../core/limits.ts";
import type { Timers } from "../core/timers.ts";
import type { StreamRequest } from "../stream/pending-requests.ts";
import type { StreamProxy } from "../stream/stream-proxy.ts";

interface Look {
  /** The message that was looked at, and when. */
  readonly sequence: number;
  readonly atMs: number;
  /** When it was taken, by the wall clock; of the look before, until there is an answer. */
  readonly ingestMs: number | undefined;
  readonly isRunning: boolean;
}

/** Whom to ask, and about which message. */
interface Question {
  /** @throws {MillraceError} while the worker is being replaced */
  readonly proxy: () => Pick<StreamProxy, "read">;
  readonly slot: number;
  readonly exporterId: string;
  readonly sequence: number;
}

/**
 * When messages of a stream were taken that this process did not see arrive: its worker reads the one message. One look at a time for
 * each exporter, and one in INGEST_LOOK_MS; until the next one the age of the message of the last look is told, which is
 * greater than that of one behind it.
 */
export class IngestLooks {
  readonly #looks = new Map<string, Look>();
  #waiting: (() => void)[] = [];

  /** Milliseconds since the message was taken, by the wall clock; undefined until somebody knows. */
  ageMs(clock: Clock, question: Question): number | undefined {
    const { exporterId, sequence } = question;
    const nowMs = clock.monotonicMs();
    const look = this.#looks.get(exporterId);
    const isDue = look === undefined || (look.sequence !== sequence && nowMs - look.atMs >= INGEST_LOOK_MS);
    if (isDue && look?.isRunning !== true) this.#look(question, nowMs);
    const ingestMs = this.#looks.get(exporterId)?.ingestMs;
    return ingestMs === undefined ? undefined : Math.max(0, clock.nowMs() - ingestMs);
  }

  get isLooking(): boolean {
    return [...this.#looks.values()].some(({ isRunning }) => isRunning);
  }

  /** Resolves when every look has its answer, after INGEST_LOOK_WAIT_MS at the latest. */
  settled(timers: Timers): Promise<void> {
    return new Promise((resolve) => {
      const cancel = timers.setTimer(resolve, INGEST_LOOK_WAIT_MS);
      this.#waiting.push(() => {
        cancel();
        resolve();
      });
      this.#wake();
    });
  }

  #look({ proxy, slot, exporterId, sequence }: Question, atMs: number): void {
    const before = this.#looks.get(exporterId)?.ingestMs;
    this.#looks.set(exporterId, { sequence, atMs, ingestMs: before, isRunning: true });
    const end = (ingestMs: number | undefined): void => {
      this.#looks.set(exporterId, { sequence, atMs, ingestMs: ingestMs ?? before, isRunning: false });
      this.#wake();
    };
    const request: StreamRequest = {
      onRecords: ({ runs: [first], isLast }) => {
        if (isLast) end(first?.ingestMs);
      },
      // It cannot be read, or its worker ended: nothing is known of it.
      onFailed: () => end(undefined),
    };
    const what = { slot, fromSequence: sequence, min: 1, max: 1, bytesMax: 1, timeoutMs: 0 };
    try {
      proxy().read(request, what);
    } catch {
      end(undefined);
    }
  }

  #wake(): void {
    if (this.isLooking) return;
    for (const resolve of this.#waiting.splice(0)) resolve();
  }
}
