import type { Differences } from "./demo-compare.ts";
import { demoStreams, forEachStream, type PerStream } from "./demo-streams.ts";
import { formatBytes } from "./table.ts";

/** What is known of one stream at the end. */
export interface StreamOutcome {
  readonly appended: number;
  readonly acknowledged: number;
  readonly acceptedBytes: number;
  /** Sent more than once because their outcome was unknown. */
  readonly resent: number;
  readonly inStream: Differences;
  readonly inKinesis: Differences;
  /** Why exporting stopped, else empty. */
  readonly exportError: string;
}

export interface DemoOutcome {
  readonly sensorCount: number;
  readonly anomalyCount: number;
  readonly appendSeconds: number;
  /** From the first append to the last export. */
  readonly exportSeconds: number;
  readonly storedBytes: number;
  readonly streams: PerStream<StreamOutcome>;
}

/** One stream, or all of them, as the summary shows it. */
interface SummaryFigures {
  readonly appended: number;
  readonly acceptedBytes: number;
  readonly exported: number;
  readonly missing: number;
  readonly wrong: number;
  readonly duplicates: number;
  readonly appendedPerSecond: number;
  readonly exportedPerSecond: number;
}

export interface Summary extends SummaryFigures {
  readonly isComplete: boolean;
  readonly storedBytes: number;
  /** Accepted bytes for each stored byte. */
  readonly ratio: number;
  readonly sensors: number;
  readonly anomalies: number;
  readonly appendSeconds: number;
  readonly exportSeconds: number;
  readonly streams: Readonly<Record<string, SummaryFigures & StreamOutcome>>;
}

/** Adds up what happened; complete only if every message came back as it was sent, from its stream and from Kinesis. */
export function summarize(outcome: DemoOutcome): Summary {
  const { storedBytes, sensorCount, anomalyCount, appendSeconds, exportSeconds } = outcome;
  const figures = forEachStream(({ key }) => figuresOf(outcome.streams[key], outcome));
  const sum = (field: keyof SummaryFigures) => figures.readings[field] + figures.inferences[field];
  const acceptedBytes = sum("acceptedBytes");
  const outcomes = Object.values(outcome.streams);
  return {
    isComplete:
      sum("missing") + sum("wrong") === 0 &&
      sum("appended") > 0 &&
      outcomes.every(({ acknowledged, appended }) => acknowledged === appended) &&
      outcomes.every(({ inStream }) => inStream.outOfOrder + inStream.duplicates === 0),
    appended: sum("appended"),
    acceptedBytes,
    storedBytes,
    ratio: storedBytes === 0 ? 0 : round(acceptedBytes / storedBytes),
    exported: sum("exported"),
    missing: sum("missing"),
    wrong: sum("wrong"),
    duplicates: sum("duplicates"),
    appendedPerSecond: sum("appendedPerSecond"),
    exportedPerSecond: sum("exportedPerSecond"),
    sensors: sensorCount,
    anomalies: anomalyCount,
    appendSeconds: round(appendSeconds),
    exportSeconds: round(exportSeconds),
    streams: Object.fromEntries(
      demoStreams.map(({ key, name }) => [name, { ...figures[key], ...outcome.streams[key] }]),
    ),
  };
}

function figuresOf(
  { appended, acceptedBytes, inStream, inKinesis }: StreamOutcome,
  { appendSeconds, exportSeconds }: DemoOutcome,
): SummaryFigures {
  return {
    appended,
    acceptedBytes,
    exported: inKinesis.correct,
    missing: inStream.missing + inKinesis.missing,
    wrong: inStream.wrong + inKinesis.wrong,
    duplicates: inStream.duplicates + inKinesis.duplicates,
    appendedPerSecond: perSecond(appended, appendSeconds),
    exportedPerSecond: perSecond(inKinesis.correct, exportSeconds),
  };
}

function perSecond(count: number, seconds: number): number {
  return seconds > 0 ? Math.round(count / seconds) : 0;
}

function round(value: number): number {
  return Math.round(value * 100) / 100;
}

/** The summary as a person reads it. */
export function formatSummary(summary: Summary): string {
  const columns = demoStreams.map(({ name }) => summary.streams[name]!);
  const row = (label: string, cell: (figures: SummaryFigures) => string) => [
    label,
    ...columns.map(cell),
    cell(summary),
  ];
  const differing = (differences: "inStream" | "inKinesis", field: "missing" | "wrong" | "duplicates") => {
    const counts = columns.map((stream) => stream[differences][field]);
    return [...counts, counts.reduce((sum, count) => sum + count, 0)].map(formatCount);
  };
  const lines = [
    ["", ...demoStreams.map(({ name }) => name), "total"],
    row("appended", ({ appended }) => formatCount(appended)),
    row("appended per second", ({ appendedPerSecond }) => formatCount(appendedPerSecond)),
    row("accepted", ({ acceptedBytes }) => formatBytes(acceptedBytes)),
    ["stored", ...columns.map(() => ""), formatBytes(summary.storedBytes)],
    ["ratio", ...columns.map(() => ""), summary.ratio.toFixed(2)],
    row("exported", ({ exported }) => formatCount(exported)),
    row("exported per second", ({ exportedPerSecond }) => formatCount(exportedPerSecond)),
    ["stream: missing", ...differing("inStream", "missing")],
    ["stream: wrong", ...differing("inStream", "wrong")],
    ["stream: duplicates", ...differing("inStream", "duplicates")],
    ["Kinesis: missing", ...differing("inKinesis", "missing")],
    ["Kinesis: wrong", ...differing("inKinesis", "wrong")],
    ["Kinesis: duplicates", ...differing("inKinesis", "duplicates")],
  ];
  return [...alignRight(lines), "", ...verdict(summary)].join("\n");
}

function verdict({ isComplete, appended, sensors, anomalies, streams }: Summary): string[] {
  const what = `${formatCount(appended)} messages from ${sensors} sensors, ${formatCount(anomalies)} anomalies.`;
  if (isComplete) return [what, "Every message came back from its stream and from Kinesis as it was sent."];
  const reasons = Object.entries(streams)
    .filter(([, { exportError }]) => exportError !== "")
    .map(([name, { exportError }]) => `Export of ${name}: ${exportError}`);
  return [what, "NOT COMPLETE: the table says what is missing or wrong.", ...reasons];
}

function alignRight(lines: readonly (readonly string[])[]): string[] {
  const widths = lines[0]!.map((_, column) => Math.max(...lines.map((line) => line[column]!.length)));
  return lines.map(([label, ...cells]) => {
    const padded = cells.map((cell, index) => cell.padStart(widths[index + 1]!));
    return [label!.padEnd(widths[0]!), ...padded].join("  ").trimEnd();
  });
}

export function formatCount(count: number): string {
  return count.toLocaleString("en-US");
}
