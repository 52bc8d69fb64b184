import { formatBytes, formatFields, formatTable } from "../table.ts";
import type { BlockDevice } from "./block-device.ts";
import { promiseOf, MESSAGE_BYTES } from "./promise.ts";
import type { Latency, SyncFigures } from "./sync-probe.ts";
import { formatMs, type DoctorFacts, type Remark } from "./verdict.ts";

/** What was found, for a person. */
export function formatDiagnosis(facts: DoctorFacts, remarks: readonly Remark[]): string {
  const parts = [formatFacts(facts)];
  if (facts.figures !== undefined) parts.push(formatFigures(facts.figures), formatPromise(facts.figures));
  parts.push(formatVerdict(remarks));
  return parts.join("\n\n");
}

function formatFacts(facts: DoctorFacts): string {
  const { place, engine, openFilesMax, nativeBindings, streamCount } = facts;
  const { type, mountPoint, source, totalBytes, freeBytes, totalFiles, freeFiles, devices } =
    place.fileSystem;
  const own = place.state === "there" ? place.levels.at(-1) : undefined;
  const on = mountPoint === undefined ? "" : ` on ${mountPoint}${source === undefined ? "" : ` (${source})`}`;
  const files = totalFiles === 0 ? "inodes as needed" : `${freeFiles} of ${totalFiles} inodes`;
  return formatFields([
    ["directory", place.state === "missing" ? `${place.directory}, which is not there yet` : place.directory],
    ...(own === undefined
      ? ([["measured in", place.nearest]] as const)
      : ([["rights", `owner ${own.owner}, mode ${own.mode.toString(8)}`]] as const)),
    ["engine", engineText(engine)],
    ["streams", streamCount],
    ["file system", `${type}${on}`],
    ["free", `${formatBytes(freeBytes)} of ${formatBytes(totalBytes)}, ${files}`],
    ["device", devices.length === 0 ? "the kernel names none" : devices.map(deviceText).join("; ")],
    ["open files", openFilesMax === undefined ? "limit unknown" : `at most ${openFilesMax} in this process`],
    ["addon", nativeBindings.areUsed ? "in use" : `not in use: ${nativeBindings.reason ?? "unknown"}`],
  ]);
}

function engineText(engine: DoctorFacts["engine"]): string {
  if (engine === "runs") return "runs here, so the figures hold its load as well";
  return engine === "none" ? "none runs here" : "cannot be told";
}

function deviceText({ name, model, writeCache, isRemovable, isRotational }: BlockDevice): string {
  const words = [
    model === undefined ? name : `${name} (${model})`,
    `write cache ${writeCacheText(writeCache)}`,
    ...(isRemovable ? ["removable"] : []),
    ...(isRotational ? ["rotational"] : []),
  ];
  return words.join(", ");
}

function writeCacheText(writeCache: string | undefined): string {
  if (writeCache === "write back") return "write back, which a sync flushes";
  if (writeCache === "write through") return "write through: the kernel sees none and flushes none";
  return writeCache ?? "unknown";
}

function formatFigures({ small, large, group, create }: SyncFigures): string {
  const row = (name: string, { count, p50, p90, p99, max }: Latency): (string | number)[] => [
    name,
    count,
    ...[p50, p90, p99, max].map((ms) => formatMs(ms).padStart(8)),
  ];
  return formatTable(
    ["what", "samples", "     p50", "     p90", "     p99", "     max"],
    [
      row("append 4 KiB, sync", small),
      row("append 64 KiB, sync", large),
      row("append 1 MiB, sync", group),
      row("new file, sync, sync directory", create),
    ],
  );
}

function formatPromise(figures: SyncFigures): string {
  const promise = promiseOf(figures);
  const rate = (bytes: number): string => `${formatBytes(bytes)}/s`;
  const count = (value: number): string => Math.floor(value).toLocaleString("en-US");
  const perSecond = (messages: number, bytes: number): string =>
    `${count(messages)} messages of ${MESSAGE_BYTES} B a second, ${rate(bytes)}`;
  const rows = formatFields([
    ["awaited appends", `${count(promise.awaitedPerSecond)} a second = 1 s / p50(4 KiB)`],
    [
      "awaited batches",
      `${perSecond(promise.batchedMessagesPerSecond, promise.batchedBytesPerSecond)} = 64 KiB / p50(64 KiB)`,
    ],
    [
      "group commit",
      `${perSecond(promise.groupMessagesPerSecond, promise.groupBytesPerSecond)} = 1 MiB / p50(1 MiB)`,
    ],
  ]);
  return `What the disk allows with flushOnWrite, in bytes as they are stored (what compresses 3:1 counts three times);
what the engine does on this machine comes on top:\n${rows}`;
}

function formatVerdict(remarks: readonly Remark[]): string {
  const lines = remarks.map(({ kind, text }) => (kind === "unfit" ? `- not fit: ${text}` : `- ${text}`));
  return [`verdict: ${verdictText(remarks)}`, ...lines].join("\n");
}

export function isFit(remarks: readonly Remark[]): boolean {
  return remarks.every(({ kind }) => kind !== "unfit");
}

function verdictText(remarks: readonly Remark[]): string {
  if (!isFit(remarks)) return "NOT FIT";
  return remarks.length === 0 ? "fit" : "fit, but read this";
}

/** The same for a program. Latencies are milliseconds. */
export function diagnosisToJson(facts: DoctorFacts, remarks: readonly Remark[]): object {
  const { place, figures, ...rest } = facts;
  return {
    isFit: isFit(remarks),
    remarks,
    directory: place.directory,
    state: place.state,
    measuredIn: place.nearest,
    levels: place.levels.map((level) => ({ ...level, mode: level.mode.toString(8) })),
    fileSystem: place.fileSystem,
    ...rest,
    latenciesMs: figures,
    promise: figures && promiseOf(figures),
  };
}
