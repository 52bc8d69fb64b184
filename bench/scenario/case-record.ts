import type { BenchRecord } from "../bench.ts";
import { LatencyHistogram, latencyValues } from "../latency-histogram.ts";
import { median, roundTo } from "../statistics.ts";
import type { CaseEnd, CostedSlice, Slice } from "./slice.ts";
import { messageRate } from "./turns.ts";

const MIB = 1024 * 1024;
const BYTES_PER_GB = 1e9;
const DIGITS = 4;

export function mergedLatencies(slices: readonly Slice[]): LatencyHistogram {
  const merged = new LatencyHistogram();
  for (const { latencies } of slices) merged.addAll(latencies);
  return merged;
}

/**
 * What the rounds of a case say. Rates are medians of the rounds, percentiles and costs are of all rounds together.
 * `waitedFor` names what the latencies are of, `ack` by default; null where nothing is waited for.
 */
export function caseRecord(
  name: string,
  slices: readonly CostedSlice[],
  { end, waitedFor = "ack" }: { readonly end: CaseEnd; readonly waitedFor?: string | null },
): BenchRecord {
  const merged = mergedLatencies(slices);
  const summary = merged.summary();
  const rates = slices.map(messageRate);
  const mibPerS = slices.map(({ payloadBytes, elapsedS }) => payloadBytes / MIB / elapsedS);
  const costs = costsOf(slices);
  return {
    name,
    values: {
      messages_per_s: Math.round(median(rates)),
      mib_per_s: roundTo(median(mibPerS), DIGITS),
      ...(waitedFor === null ? {} : latencyValues(waitedFor, merged)),
      rss_mib: roundTo(end.rssMib, DIGITS),
      ...costs.values,
      bytes_per_accepted_byte:
        end.bytesPerAcceptedByte === null ? null : roundTo(end.bytesPerAcceptedByte, DIGITS),
    },
    rounds: {
      messages_per_s: rates.map(Math.round),
      mib_per_s: mibPerS.map((rate) => roundTo(rate, DIGITS)),
      ...(waitedFor === null ? {} : latencyRounds(waitedFor, slices)),
      cpu_s_per_gb: slices.map((slice) => perGb(slice.serverCpuS + slice.driverCpuS, slice.payloadBytes)),
      engine_cpu_s_per_gb: slices.map((slice) => perGb(slice.serverCpuS, slice.payloadBytes)),
      driver_cpu_s_per_gb: slices.map((slice) => perGb(slice.driverCpuS, slice.payloadBytes)),
    },
    ...(summary === undefined || waitedFor === null ? {} : { latencies: { [waitedFor]: summary } }),
    threads: costs.threads,
  };
}

/** The percentiles of each round by their keys; none where a round waited for nothing. */
function latencyRounds(waitedFor: string, slices: readonly Slice[]): Record<string, number[]> {
  const byRound = slices.map(({ latencies }) => Object.entries(latencyValues(waitedFor, latencies)));
  const rounds: Record<string, number[]> = {};
  for (const [key, value] of byRound.flat()) {
    if (value === null) return {};
    (rounds[key] ??= []).push(value);
  }
  return rounds;
}

/** CPU time and written bytes for what was accepted: of both programs, of each, of each thread. */
function costsOf(slices: readonly CostedSlice[]): Required<Pick<BenchRecord, "values" | "threads">> {
  const sum = (of: (slice: CostedSlice) => number): number =>
    slices.reduce((total, slice) => total + of(slice), 0);
  const payloadBytes = sum((slice) => slice.payloadBytes);
  const engineCpuS = sum(({ serverCpuS }) => serverCpuS);
  const driverCpuS = sum((slice) => slice.driverCpuS);
  const isWrittenTold = slices.every(({ writtenBytes }) => writtenBytes !== undefined);
  const written = sum(({ writtenBytes }) => writtenBytes ?? 0) / payloadBytes;
  const threads = new Map<string, number>();
  for (const slice of slices) {
    for (const [thread, cpuS] of slice.threads) threads.set(thread, (threads.get(thread) ?? 0) + cpuS);
  }
  return {
    values: {
      cpu_s_per_gb: perGb(engineCpuS + driverCpuS, payloadBytes),
      engine_cpu_s_per_gb: perGb(engineCpuS, payloadBytes),
      driver_cpu_s_per_gb: perGb(driverCpuS, payloadBytes),
      written_per_accepted_byte: isWrittenTold ? roundTo(written, DIGITS) : null,
    },
    threads: Object.fromEntries([
      ...[...threads].map(([thread, cpuS]) => [`engine ${thread}`, perGb(cpuS, payloadBytes)] as const),
      ["driver", perGb(driverCpuS, payloadBytes)] as const,
    ]),
  };
}

function perGb(cpuS: number, payloadBytes: number): number {
  return roundTo(cpuS / (payloadBytes / BYTES_PER_GB), 3);
}

/** The keys of {@link caseRecord} without values, so that rows of other shapes stand in the same table. */
export const emptyCaseValues = {
  messages_per_s: null,
  mib_per_s: null,
  ack_p50_us: null,
  ack_p99_us: null,
  ack_p99_9_us: null,
  ack_p99_99_us: null,
  ack_max_us: null,
  rss_mib: null,
  cpu_s_per_gb: null,
  engine_cpu_s_per_gb: null,
  driver_cpu_s_per_gb: null,
  written_per_accepted_byte: null,
  bytes_per_accepted_byte: null,
} as const;
