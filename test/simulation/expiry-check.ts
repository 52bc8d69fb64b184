import { MESSAGE_OVERHEAD_BYTES } from "../../src/core/limits.ts";
import type { StreamLog } from "../../src/log/stream-log.ts";
import type { ManualClock } from "../support/deterministic.ts";
import { blockOf, readAll } from "../support/log-fixture.ts";
import type { SimStorage } from "../support/sim-storage.ts";

const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;
const YEAR_MS = 365 * 24 * HOUR_MS;

/** What the wall clock shows, and how long the machine was off, when a log is opened after a crash. */
export interface Boot {
  readonly wallMs: number;
  readonly offMs: number;
  /** Five minutes after the start the wall clock shows what it would have without the crash. */
  readonly isPutRight?: boolean;
}

/** The wall clock as before; before and behind whatever anybody can believe; and local time taken for UTC. */
export function boots(crashWallMs: number): readonly Boot[] {
  return [
    { wallMs: crashWallMs, offMs: 0 },
    { wallMs: crashWallMs + HOUR_MS / 4, offMs: HOUR_MS / 4 },
    { wallMs: crashWallMs + 3 * HOUR_MS, offMs: 3 * HOUR_MS },
    { wallMs: crashWallMs + 10 * YEAR_MS, offMs: MINUTE_MS },
    { wallMs: 8000, offMs: HOUR_MS },
    { wallMs: crashWallMs + 8 * HOUR_MS, offMs: MINUTE_MS, isPutRight: true },
  ];
}

export interface ExpiryCheck {
  readonly storage: SimStorage;
  readonly clock: ManualClock;
  readonly log: StreamLog;
  readonly boot: Boot;
  /** At the crash: what the wall clock showed, and how long the machine had really lived. */
  readonly crashWallMs: number;
  readonly crashTrueMs: number;
  readonly timeToLiveMs: number;
  /** When the message that stands there came. */
  readonly arrivedMs: (sequence: number, payload: string) => number;
  readonly reopen: (storage: SimStorage) => StreamLog;
}

/** Lets a recovered log live until everything has expired. @returns what is wrong */
export function outlive({ storage, clock, log, ...check }: ExpiryCheck): string | undefined {
  const { timeToLiveMs, boot } = check;
  const startMs = check.crashTrueMs + boot.offMs;
  const { nextSequence } = log;
  const payloads = readAll(log, log.oldestSequence, nextSequence).messages;
  let expectedOldest = log.oldestSequence;
  for (let minute = 1; minute <= timeToLiveMs / MINUTE_MS + 12; minute++) {
    clock.advance(MINUTE_MS);
    if (boot.isPutRight === true && minute === 5)
      clock.setWall(check.crashWallMs + boot.offMs + minute * MINUTE_MS);
    log.tick();
    storage.completeSyncs();
    for (; expectedOldest < log.oldestSequence; expectedOldest++) {
      const ageMs =
        startMs + minute * MINUTE_MS - check.arrivedMs(expectedOldest, payloads.get(expectedOldest)!);
      if (ageMs <= timeToLiveMs) return `message ${expectedOldest} is gone after ${ageMs} ms`;
    }
  }
  if (log.totalBytes > 0) return `${log.totalBytes} bytes are kept though all is over age`;
  if (log.nextSequence !== nextSequence) return `numbers went from ${nextSequence} to ${log.nextSequence}`;
  const appended = blockOf(["after everything has expired"], log.ingestMs);
  log.admit(appended.payloadBytes + MESSAGE_OVERHEAD_BYTES);
  if (log.append(appended) !== nextSequence) return "the next message got another number";
  const again = check.reopen(storage.copy());
  return again.nextSequence === nextSequence + 1 ? undefined : `opened again at ${again.nextSequence}`;
}
