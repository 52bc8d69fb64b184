import type { BenchRecord } from "../bench.ts";
import { roundTo } from "../statistics.ts";
import type { CostedSlice } from "./slice.ts";
import { messageRate, TurnRatios, type MeasuredCase } from "./turns.ts";

/** Rounds of one case differ by as much. */
const WORSE_SHARE_MIN = 0.03;

/** A side of a comparison; its name is that of its row without what all rows of the group share. */
export interface ComparedCase extends MeasuredCase {
  /** Its frames were made before the measurement: what its driver takes is not what a client takes. */
  readonly isPreEncoded?: boolean;
  /** The setting that decides what is resident, which then is no figure of the program. */
  readonly rssDecidedBy?: string | undefined;
}

/** One case of Millrace beside one of a peer: ratios of neighbouring rounds, and what Millrace is behind in. */
export function peerComparison(
  own: ComparedCase,
  peer: ComparedCase,
): Pick<BenchRecord, "values" | "rounds"> {
  const ratios = new TurnRatios();
  const add = (key: string, of: (slice: CostedSlice) => number): void =>
    ratios.add(key, [own.slices, peer.slices], of);
  const perByte = (of: (slice: CostedSlice) => number) => (slice: CostedSlice) =>
    of(slice) / slice.payloadBytes;
  const percentile =
    (percent: number) =>
    ({ latencies }: CostedSlice) =>
      latencies.percentile(percent) ?? NaN;
  add("rate_vs_peer", messageRate);
  add(
    "server_cpu_vs_peer",
    perByte(({ serverCpuS }) => serverCpuS),
  );
  if (own.isPreEncoded !== true) {
    add(
      "driver_cpu_vs_peer",
      perByte(({ driverCpuS }) => driverCpuS),
    );
    add(
      "cpu_vs_peer",
      perByte(({ serverCpuS, driverCpuS }) => serverCpuS + driverCpuS),
    );
  }
  add(
    "written_vs_peer",
    perByte(({ writtenBytes }) => writtenBytes ?? NaN),
  );
  add("ack_p50_vs_peer", percentile(50));
  add("ack_p99_vs_peer", percentile(99));
  const values = { ...ratios.values, rss_vs_peer: roundTo(own.end.rssMib / peer.end.rssMib, 3) };
  const verdict = behindIn(values, { rssDecidedBy: peer.rssDecidedBy });
  return { values: { ...values, behind_in: verdict }, rounds: ratios.rounds };
}

/** Names the ratios that are worse by more than the noise, and those that nobody knows: they are no win. */
export function behindIn(
  ratios: Readonly<Record<string, number | null>>,
  { rssDecidedBy }: { readonly rssDecidedBy?: string | undefined } = {},
): string {
  const judged = Object.entries(ratios).filter(
    ([key]) => rssDecidedBy === undefined || key !== "rss_vs_peer",
  );
  const worse = judged.filter(
    ([key, value]) =>
      value !== null && (key === "rate_vs_peer" ? value < 1 - WORSE_SHARE_MIN : value > 1 + WORSE_SHARE_MIN),
  );
  const unknown = judged.filter(([, value]) => value === null);
  return [
    worse.length === 0 ? "nothing" : wordsOf(worse),
    ...(unknown.length === 0 ? [] : [`unknown: ${wordsOf(unknown)}`]),
    ...(rssDecidedBy === undefined ? [] : [`not judged: rss, which ${rssDecidedBy} decides`]),
  ].join("; ");
}

function wordsOf(entries: readonly (readonly [key: string, value: number | null])[]): string {
  return entries.map(([key]) => key.replace("_vs_peer", "").replaceAll("_", " ")).join(", ");
}
