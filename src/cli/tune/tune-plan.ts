import type { Settings } from "../../config/schema.ts";
import { summarize } from "../doctor/sync-probe.ts";
import { blockCandidates, type Choice, choose, median, workerCandidates } from "./tune-choice.ts";
import { type RoundContext, type RoundOrder, type RoundResult, runRound } from "./tune-round.ts";

/** What a candidate's rounds gave together. */
export interface CandidateFigures {
  readonly value: number;
  readonly rates: readonly number[];
  readonly cpuSecondsPerMillion: number | undefined;
  readonly peakMib: number | undefined;
}

export interface Dimension {
  readonly candidates: readonly CandidateFigures[];
  readonly choice: Choice<number>;
  readonly defaultValue: number;
}

/** Streams with and without flushOnWrite. */
export interface FlushFigures {
  readonly rates: readonly number[];
  readonly awaitedP50Ms: number;
  readonly awaitedP99Ms: number;
}

export interface TuneFigures {
  readonly workers: Dimension;
  readonly blockBytes: Dimension;
  readonly unflushed: FlushFigures;
  readonly flushed: FlushFigures;
  readonly rounds: number;
  readonly secondsPerRound: number;
}

export interface PlanOptions {
  readonly context: RoundContext;
  readonly cores: number;
  readonly defaults: Pick<Settings, "profile" | "workers" | "blockBytes">;
  readonly seconds: number;
  /** Of each candidate. */
  readonly rounds: number;
  readonly onProgress: (share: number, label: string) => void;
}

/** However little time there is. */
const ROUND_S_MIN = 0.4;
/** Of the time of a round, what the awaited appends get. */
const AWAITED_SHARE = 0.5;

/** Runs all rounds. Candidates take turns, so that whatever else the machine does meets all of them. */
export async function measure(options: PlanOptions): Promise<TuneFigures> {
  const { context, cores, defaults, seconds, rounds, onProgress } = options;
  const workerCounts = workerCandidates(cores, defaults.workers);
  const blockSizes = blockCandidates(defaults.blockBytes);
  const total = rounds * (workerCounts.length + blockSizes.length + 4);
  const progress = { done: 0, total, onProgress };
  const flags = { "--profile": defaults.profile };
  // The first start reads the program from the disk. How long a start takes says what of the time is left to measure in.
  const beganMs = context.clock.monotonicMs();
  await runRound(context, { flags, flushOnWrite: false, seconds: ROUND_S_MIN, isAwaited: true });
  const startS = (context.clock.monotonicMs() - beganMs) / 1000 - ROUND_S_MIN;
  const secondsPerRound = Math.max(ROUND_S_MIN, seconds / total - startS);
  const turns = { context, rounds, secondsPerRound, progress };

  const byWorkers = await takeTurns(turns, "workers", workerCounts, (count) => ({
    flags: { ...flags, "--workers": String(count) },
  }));
  const workers = dimension(byWorkers, workerCounts, defaults.workers);
  const chosen = { ...flags, "--workers": String(workers.choice.value) };
  const byBlocks = await takeTurns(turns, "block size", blockSizes, (bytes) => ({
    flags: { ...chosen, "--block-bytes": String(bytes) },
  }));
  const blockBytes = dimension(byBlocks, blockSizes, defaults.blockBytes);
  const tuned = { ...chosen, "--block-bytes": String(blockBytes.choice.value) };
  const kinds = [false, true];
  const batched = await takeTurns(turns, "flushOnWrite", kinds, (flushOnWrite) => ({
    flags: tuned,
    flushOnWrite,
  }));
  const awaited = await takeTurns(turns, "awaited appends", kinds, (flushOnWrite) => ({
    flags: tuned,
    flushOnWrite,
    isAwaited: true,
    seconds: secondsPerRound * AWAITED_SHARE,
  }));
  const flush = (index: number): FlushFigures => flushFigures(batched[index]!, awaited[index]!);
  return { workers, blockBytes, unflushed: flush(0), flushed: flush(1), rounds, secondsPerRound };
}

interface Turns {
  readonly context: RoundContext;
  readonly rounds: number;
  readonly secondsPerRound: number;
  readonly progress: { done: number; readonly total: number; readonly onProgress: PlanOptions["onProgress"] };
}

/** The results of each candidate. Every second round goes backwards, so that none is always behind the same other. */
async function takeTurns<T>(
  { context, rounds, secondsPerRound, progress }: Turns,
  label: string,
  candidates: readonly T[],
  orderOf: (candidate: T) => Pick<RoundOrder, "flags"> & Partial<RoundOrder>,
): Promise<RoundResult[][]> {
  const results: RoundResult[][] = candidates.map(() => []);
  for (let round = 0; round < rounds; round++) {
    const indexes = candidates.map((_, index) => index);
    if (round % 2 === 1) indexes.reverse();
    for (const index of indexes) {
      progress.onProgress(progress.done / progress.total, `${label}, round ${round + 1} of ${rounds}`);
      const order = {
        flushOnWrite: false,
        isAwaited: false,
        seconds: secondsPerRound,
        ...orderOf(candidates[index]!),
      };
      results[index]!.push(await runRound(context, order));
      progress.done += 1;
    }
  }
  return results;
}

function dimension(
  results: readonly RoundResult[][],
  values: readonly number[],
  defaultValue: number,
): Dimension {
  const candidates = values.map((value, index) => candidateFigures(value, results[index]!));
  return { candidates, choice: choose(candidates, defaultValue), defaultValue };
}

function candidateFigures(value: number, results: readonly RoundResult[]): CandidateFigures {
  const known = (figures: readonly (number | undefined)[]): number[] =>
    figures.filter((figure) => figure !== undefined);
  const cpu = known(results.map(({ cpuSecondsPerMillion }) => cpuSecondsPerMillion));
  const peaks = known(results.map(({ peakMib }) => peakMib));
  return {
    value,
    rates: results.map(({ messagesPerSecond }) => messagesPerSecond),
    cpuSecondsPerMillion: cpu.length === 0 ? undefined : median(cpu),
    peakMib: peaks.length === 0 ? undefined : Math.max(...peaks),
  };
}

function flushFigures(batched: readonly RoundResult[], awaited: readonly RoundResult[]): FlushFigures {
  const { p50, p99 } = summarize(awaited.flatMap(({ latenciesMs }) => latenciesMs));
  return {
    rates: batched.map(({ messagesPerSecond }) => messagesPerSecond),
    awaitedP50Ms: p50,
    awaitedP99Ms: p99,
  };
}
