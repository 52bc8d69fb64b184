import path from "node:path";
import type { Clock } from "../../core/clock.ts";
import { MillraceError } from "../../core/errors.ts";
import type { Random } from "../../core/random.ts";
import type { Timers } from "../../core/timers.ts";
import { writeFully } from "../../log/segment-writer.ts";
import type { Storage, StorageFile } from "../../log/storage.ts";

const KIB = 1024;
/** What is written: an awaited append with its padding, a client's batch, and a group that many clients fill. */
const SMALL_BYTES = 4 * KIB;
export const LARGE_BYTES = 64 * KIB;
export const GROUP_BYTES = 1024 * KIB;
/** Together at most 56 MiB, so that asking a memory card how it is does not wear it out. */
const plan = [
  { key: "small", sizeBytes: SMALL_BYTES, samplesMax: 2048, share: 0.35 },
  { key: "large", sizeBytes: LARGE_BYTES, samplesMax: 256, share: 0.3 },
  { key: "group", sizeBytes: GROUP_BYTES, samplesMax: 32, share: 0.2 },
] as const;
export const PROBE_BYTES_MAX = plan.reduce(
  (sum, { sizeBytes, samplesMax }) => sum + sizeBytes * samplesMax,
  0,
);
const CREATE_SHARE = 0.15;
const CREATE_SAMPLES_MAX = 200;
/** Of each kind, however slow. */
const SAMPLES_MIN = 3;
/** A sync that takes longer is taken for one that never returns. */
const SYNC_DEADLINE_MS = 60_000;

/** How long calls took, in milliseconds. */
export interface Latency {
  readonly count: number;
  readonly p50: number;
  readonly p90: number;
  readonly p99: number;
  readonly max: number;
}

export interface SyncFigures {
  /** A write at the end of a file and an fdatasync, of SMALL_BYTES, LARGE_BYTES and GROUP_BYTES. */
  readonly small: Latency;
  readonly large: Latency;
  readonly group: Latency;
  /** A new file of SMALL_BYTES, its fdatasync and the sync of its directory. */
  readonly create: Latency;
}

export interface ProbeOptions {
  readonly storage: Storage;
  /** An empty directory of our own; files are left in it. */
  readonly directory: string;
  readonly seconds: number;
  readonly clock: Clock;
  readonly random: Random;
  readonly timers: Timers;
  readonly signal: AbortSignal;
  /** Told how far it is, from 0 to 1. */
  readonly onProgress: (share: number) => void;
}

/**
 * Measures what the engine does with a directory, by the engine's own calls. The syncs run beside this thread, so that a
 * device that hangs cannot keep a signal from being seen.
 * @throws the reason of an abort; the system's error; {MillraceError} STORE_UNUSABLE when a sync does not come back
 */
export async function probeSyncs(options: ProbeOptions): Promise<SyncFigures> {
  const { storage, directory, seconds, random, timers, onProgress } = options;
  const latencies: Record<string, Latency> = {};
  let doneShare = 0;
  for (const { key, sizeBytes, samplesMax, share } of plan) {
    const file = storage.open(path.join(directory, key), "create");
    // Random, so that a file system that compresses has nothing to gain.
    const bytes = random.bytes(sizeBytes);
    let position = 0;
    try {
      latencies[key] = await sample(
        options,
        { samplesMax, durationMs: share * seconds * 1000 },
        async (progress) => {
          writeAt(file, bytes, position);
          position += sizeBytes;
          await syncFile(file, timers);
          onProgress(doneShare + share * progress);
        },
      );
    } finally {
      file.close();
    }
    doneShare += share;
  }
  const content = random.bytes(SMALL_BYTES);
  const create = await sample(
    options,
    { samplesMax: CREATE_SAMPLES_MAX, durationMs: CREATE_SHARE * seconds * 1000 },
    async (progress, index) => {
      const file = storage.open(path.join(directory, `file-${index}`), "create");
      try {
        writeAt(file, content, 0);
        await syncFile(file, timers);
        storage.syncDirectory(directory);
      } finally {
        file.close();
      }
      onProgress(doneShare + CREATE_SHARE * progress);
    },
  );
  const { small, large, group } = latencies;
  if (small === undefined || large === undefined || group === undefined)
    throw new Error("a plan of three sizes");
  return { small, large, group, create };
}

/** Runs `step` until the time or the number of samples is up. */
async function sample(
  { clock, signal }: ProbeOptions,
  { samplesMax, durationMs }: { samplesMax: number; durationMs: number },
  step: (progress: number, index: number) => Promise<void>,
): Promise<Latency> {
  const startMs = clock.monotonicMs();
  const latenciesMs: number[] = [];
  for (let index = 0; index < samplesMax; index++) {
    const beganMs = clock.monotonicMs();
    const progress = Math.max((beganMs - startMs) / durationMs, index / samplesMax);
    if (progress >= 1 && index >= SAMPLES_MIN) break;
    signal.throwIfAborted();
    await step(Math.min(1, progress), index);
    latenciesMs.push(clock.monotonicMs() - beganMs);
  }
  return summarize(latenciesMs);
}

/** `latenciesMs` holds at least one. */
export function summarize(latenciesMs: readonly number[]): Latency {
  const sorted = [...latenciesMs].sort((a, b) => a - b);
  const at = (share: number): number =>
    sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))]!;
  return { count: sorted.length, p50: at(0.5), p90: at(0.9), p99: at(0.99), max: sorted.at(-1)! };
}

function writeAt(file: StorageFile, bytes: Uint8Array, position: number): void {
  const { error } = writeFully(file, [bytes], position);
  if (error !== undefined) throw error;
}

/** @throws {MillraceError} STORE_UNUSABLE after SYNC_DEADLINE_MS */
async function syncFile(file: StorageFile, timers: Timers): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    const hang = (): void => {
      const text = `A sync has not come back within ${SYNC_DEADLINE_MS / 1000} s: the device hangs`;
      reject(new MillraceError("STORE_UNUSABLE", text));
    };
    const cancel = timers.setTimer(hang, SYNC_DEADLINE_MS, { keepsAlive: true });
    file.sync((error) => {
      cancel();
      if (error === undefined) resolve();
      else reject(error);
    });
  });
}
