import { setTimeout as sleep } from "node:timers/promises";
import type { MillraceClient } from "../client/index.ts";
import type { Clock } from "../core/clock.ts";
import type { ProducerReport } from "./demo-producer.ts";
import {
  demoStreams,
  forEachStream,
  readExportState,
  type ExportState,
  type PerStream,
} from "./demo-streams.ts";
import { formatCount } from "./demo-summary.ts";

const POLL_INTERVAL_MS = 200;
/** An export that has not moved for so long, with the producer at its end, is not going to. */
const STALLED_MS = 60_000;

export interface FollowOptions {
  readonly clock: Clock;
  /** The producer's last report. */
  readonly report: () => ProducerReport | undefined;
  readonly show: (text: string) => void;
}

/** Follows the exports until the producer has finished and everything has been exported, or nothing moves any more. */
export async function followExports(
  client: MillraceClient,
  { clock, report, show }: FollowOptions,
): Promise<PerStream<ExportState>> {
  const startMs = clock.monotonicMs();
  let movedMs = startMs;
  let exportedBefore = 0;
  for (;;) {
    const latest = report();
    const states = await readStates(client);
    const nowMs = clock.monotonicMs();
    const exported = states.readings.exportedCount + states.inferences.exportedCount;
    if (exported > exportedBefore || latest?.type !== "finished") movedMs = nowMs;
    exportedBefore = exported;
    if (latest) show(describeProgress(latest, { exported, elapsedMs: nowMs - startMs }));
    const isDrained = demoStreams.every(({ key }) => states[key].isDrained);
    if (latest?.type === "finished" && (isDrained || nowMs - movedMs > STALLED_MS)) return states;
    await sleep(POLL_INTERVAL_MS);
  }
}

async function readStates(client: MillraceClient): Promise<PerStream<ExportState>> {
  const states = await Promise.all(demoStreams.map((stream) => readExportState(client, stream)));
  return forEachStream((stream) => states[demoStreams.indexOf(stream)]!);
}

function describeProgress(
  { streams: { readings, inferences }, elapsedMs: producedMs }: ProducerReport,
  { exported, elapsedMs }: { exported: number; elapsedMs: number },
): string {
  const appended = readings.appended + inferences.appended;
  const acknowledged = readings.acknowledged + inferences.acknowledged;
  const perSecond = (count: number, ms: number) => formatCount(Math.round((count * 1000) / ms));
  return (
    `${(elapsedMs / 1000).toFixed(1)} s  ` +
    `appended ${formatCount(appended)} (${perSecond(appended, producedMs)}/s)  ` +
    `acked ${formatCount(acknowledged)}  ` +
    `exported ${formatCount(exported)} (${perSecond(exported, elapsedMs)}/s)`
  );
}
