import { Persistence } from "../../core/stream-definition.ts";
import { isFault, severities, type Finding, type FindingList } from "../../log/findings.ts";
import type { StoreVerdict } from "../../stream/store-verifier.ts";
import type { StreamVerdict } from "../../stream/stream-directory-verifier.ts";
import { printableText } from "../printable.ts";
import { countOf, formatBytes, formatFields, formatTable } from "../table.ts";

/** A verification that was done. */
export interface VerifyRun {
  readonly storeDirectory: string;
  readonly isLive: boolean;
  readonly seconds: number;
  readonly verdict: StoreVerdict;
}

export function formatVerdict(run: VerifyRun): string {
  const { storeDirectory, isLive, verdict } = run;
  const { format, epoch, streams } = verdict;
  const head = formatFields([
    ["store", storeDirectory],
    ["format", format ?? "none stated"],
    ["starts", epoch ?? "none counted"],
    [
      "engine",
      isLive
        ? "runs: each stream's newest segment is checked as far as it went, and its end is no finding"
        : "none runs",
    ],
  ]);
  const parts = [head];
  if (streams.length > 0) parts.push(formatStreams(streams));
  const findings = formatFindings(verdict);
  if (findings !== "") parts.push(findings);
  parts.push(formatEnd(run));
  return parts.join("\n\n");
}

function formatStreams(streams: readonly StreamVerdict[]): string {
  const rows = streams.map(({ name, streamId, persistence, contents, findings }) => {
    const { segments, blocks, messages, payloadBytes, storedBytes, oldestSequence, nextSequence } = contents;
    const isMemory = persistence === Persistence.Memory;
    const range = nextSequence === oldestSequence ? "-" : `${oldestSequence}..${nextSequence - 1}`;
    const numbers = [segments, blocks, messages];
    return [
      name ?? streamId,
      ...numbers,
      isMemory ? "in memory" : range,
      formatBytes(payloadBytes),
      formatBytes(storedBytes),
      storedBytes === 0 ? "-" : (payloadBytes / storedBytes).toFixed(2),
      stateText(findings),
    ];
  });
  const head = [
    "stream",
    "segments",
    "blocks",
    "messages",
    "sequences",
    "payload",
    "stored",
    "ratio",
    "state",
  ];
  return formatTable(head, rows);
}

function stateText(findings: FindingList): string {
  const counts = severities.flatMap((severity) => {
    const count = findings.count(severity);
    return count === 0 ? [] : [`${count} ${severity}`];
  });
  return counts.length === 0 ? "sound" : counts.join(", ");
}

interface Said {
  readonly finding: Finding;
  readonly stream: StreamVerdict | undefined;
}

function findingsOf({ findings, streams }: StoreVerdict): Said[] {
  const own = findings.kept.map((finding): Said => ({ finding, stream: undefined }));
  const all = streams.flatMap((stream) => stream.findings.kept.map((finding): Said => ({ finding, stream })));
  const said = [...own, ...all];
  return severities.flatMap((severity) => said.filter(({ finding }) => finding.severity === severity));
}

/** Shown to a person; the counts know all, and JSON has what was kept. */
const SHOWN_MAX = 100;

function formatFindings(verdict: StoreVerdict): string {
  const said = findingsOf(verdict);
  const lines = said.slice(0, SHOWN_MAX).map(formatFinding);
  const total = totalOf(verdict, (list) => list.total);
  if (total > lines.length) lines.push(`and ${total - lines.length} more (--json)`);
  return lines.join("\n");
}

function formatFinding({ finding, stream }: Said): string {
  const { severity, path, text } = finding;
  const where = [printableText(path), placeText(finding), rangeText(finding)].filter((part) => part !== "");
  const name = stream?.name === undefined ? "" : ` (${printableText(stream.name)})`;
  const kind = (isFault(finding) ? severity.toUpperCase() : severity).padEnd("UNREADABLE".length);
  return `${kind}  ${where.join(", ")}${name}\n${" ".repeat(12)}${printableText(text)}`;
}

function placeText({ offset, sizeBytes }: Finding): string {
  if (offset === undefined) return "";
  return sizeBytes === undefined ? `at byte ${offset}` : `${sizeBytes} bytes at ${offset}`;
}

function rangeText({ fromSequence, toSequence }: Finding): string {
  if (fromSequence === undefined) return "";
  if (toSequence === undefined) return `messages from ${fromSequence} on`;
  return toSequence === fromSequence + 1
    ? `message ${fromSequence}`
    : `messages ${fromSequence} to ${toSequence - 1}`;
}

function totalOf({ findings, streams }: StoreVerdict, count: (list: FindingList) => number): number {
  return streams.reduce((sum, stream) => sum + count(stream.findings), count(findings));
}

function formatEnd({ verdict, seconds }: VerifyRun): string {
  let segments = 0;
  let messages = 0;
  let storedBytes = 0;
  for (const { contents } of verdict.streams) {
    segments += contents.segments;
    messages += contents.messages;
    storedBytes += contents.storedBytes;
  }
  const size = `${formatBytes(storedBytes)} in ${seconds.toFixed(1)} s`;
  const what = `${countOf(verdict.streams.length, "stream")}, ${countOf(segments, "segment")}, ${countOf(messages, "message")}`;
  const faults = totalOf(verdict, (list) => list.faultCount);
  return `verified ${what}, ${size}: ${faults === 0 ? "no fault" : countOf(faults, "fault")}`;
}

/** The reason why a store is not as it should be, on one line; undefined if it is. */
export function faultText({ storeDirectory, verdict }: VerifyRun): string | undefined {
  const faults = totalOf(verdict, (list) => list.faultCount);
  const first = findingsOf(verdict).find(({ finding }) => isFault(finding))?.finding;
  if (faults === 0 || first === undefined) return undefined;
  const { path, text } = first;
  return `Store ${storeDirectory} has ${countOf(faults, "fault")}, first ${first.severity} in ${printableText(path)}: ${printableText(text)}`;
}

/** The same for a program. `toSequence` is exclusive. */
export function verdictToJson({ storeDirectory, isLive, seconds, verdict }: VerifyRun): object {
  const { format, epoch, findings, streams } = verdict;
  return {
    store: storeDirectory,
    isLive,
    isSound: totalOf(verdict, (list) => list.faultCount) === 0,
    faults: totalOf(verdict, (list) => list.faultCount),
    format,
    epoch,
    seconds: Number(seconds.toFixed(3)),
    ...listToJson(findings),
    streams: streams.map(({ streamId, name, persistence, contents, findings: own }) => ({
      streamId,
      name,
      persistence:
        persistence === undefined ? undefined : persistence === Persistence.File ? "File" : "Memory",
      ...contents,
      ratio:
        contents.storedBytes === 0
          ? undefined
          : Number((contents.payloadBytes / contents.storedBytes).toFixed(3)),
      ...listToJson(own),
    })),
  };
}

function listToJson(list: FindingList): object {
  return { findings: list.kept, findingsTotal: list.total };
}
