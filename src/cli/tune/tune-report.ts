import { fileKeyOf, rowOf } from "../../config/schema.ts";
import { formatMs } from "../doctor/verdict.ts";
import type { SyncFigures } from "../doctor/sync-probe.ts";
import { formatTable } from "../table.ts";
import { Certainty, GAIN_MIN, median, ROUNDS_TO_BE_SURE, spread } from "./tune-choice.ts";
import { PAYLOAD_BYTES_MEAN } from "./tune-round.ts";
import type { CandidateFigures, Dimension, TuneFigures } from "./tune-plan.ts";

export interface TuneReport {
  readonly machine: { readonly cores: number; readonly memoryBytes: number; readonly directory: string };
  readonly syncs: SyncFigures;
  readonly figures: TuneFigures;
  /** What to set: nothing of what the default does as well. */
  readonly settings: TunedSettings;
}

export type TunedSettings = Partial<{ profile: string; workers: number; blockBytes: number }>;

export function formatReport({ machine, syncs, figures, settings }: TuneReport): string {
  const { workers, blockBytes, rounds, secondsPerRound } = figures;
  const { small } = syncs;
  return [
    `${machine.cores} cores, ${Math.round(machine.memoryBytes / 2 ** 20)} MiB of memory, store on the disk of ${machine.directory}`,
    `${rounds} rounds of ${secondsPerRound.toFixed(1)} s for each, taking turns; messages of about ${PAYLOAD_BYTES_MEAN} B in batches of 64 KiB`,
    "",
    formatDimension("workers", workers, String),
    verdict("workers", workers, String),
    "",
    formatDimension("block size", blockBytes, kib),
    verdict("block size", blockBytes, kib),
    "",
    formatFlush(figures),
    `a write of 4 KiB and its fdatasync: p50 ${formatMs(small.p50)}, p99 ${formatMs(small.p99)}, ${small.count} samples`,
    flushVerdict(figures),
    "",
    formatSettings(settings),
  ].join("\n");
}

const kib = (bytes: number): string => `${bytes / 1024} KiB`;
const count = (value: number): string => Math.round(value).toLocaleString("en-US");
const percent = (share: number): string => `${Math.round(share * 100)} %`;

function formatDimension(name: string, dimension: Dimension, textOf: (value: number) => string): string {
  const { candidates, choice, defaultValue } = dimension;
  const row = ({ value, rates, cpuSecondsPerMillion, peakMib }: CandidateFigures): string[] => [
    textOf(value),
    count(median(rates)),
    count(Math.min(...rates)),
    count(Math.max(...rates)),
    cpuSecondsPerMillion?.toFixed(2) ?? "unknown",
    peakMib?.toFixed(0) ?? "unknown",
    [...(value === defaultValue ? ["default"] : []), ...(value === choice.value ? ["chosen"] : [])].join(
      ", ",
    ),
  ];
  const head = [name, "messages/s", "slowest", "fastest", "engine CPU-s per million", "peak MiB", ""];
  return formatTable(head, candidates.map(row), { right: [0, 1, 2, 3, 4, 5] });
}

function verdict(
  name: string,
  { choice, candidates, defaultValue }: Dimension,
  textOf: (value: number) => string,
): string {
  const { certainty, fastest, gain } = choice;
  const noise = `rounds of one candidate differ by up to ${percent(Math.max(...candidates.map(({ rates }) => spread(rates))))}`;
  const [best, standard] = [textOf(fastest), textOf(defaultValue)];
  switch (certainty) {
    case Certainty.Clear:
      return `${name}: ${best}, ${percent(gain)} above the default by the median, and faster in every round; ${noise}`;
    case Certainty.DefaultIsBest:
      return `${name}: the default, ${standard}, was the fastest; ${noise}`;
    case Certainty.WithinNoise: {
      const roundCount = candidates[0]!.rates.length;
      const why =
        gain < GAIN_MIN
          ? `that is less than ${percent(GAIN_MIN)}`
          : roundCount < ROUNDS_TO_BE_SURE
            ? `it takes ${ROUNDS_TO_BE_SURE} rounds to be sure`
            : "their rounds overlap";
      return `${name}: the default, ${standard}, stays: ${best} was ${percent(gain)} faster, but ${why}; ${noise}`;
    }
  }
}

function formatFlush({ unflushed, flushed }: TuneFigures): string {
  const row = (name: string, { rates, awaitedP50Ms, awaitedP99Ms }: TuneFigures["flushed"]): string[] => [
    name,
    count(median(rates)),
    count(Math.min(...rates)),
    count(Math.max(...rates)),
    formatMs(awaitedP50Ms),
    formatMs(awaitedP99Ms),
  ];
  return formatTable(
    ["stream", "messages/s", "slowest", "fastest", "awaited append p50", "p99"],
    [row("without flushOnWrite", unflushed), row("with flushOnWrite", flushed)],
    { right: [1, 2, 3, 4, 5] },
  );
}

function flushVerdict({ unflushed, flushed }: TuneFigures): string {
  const share = median(flushed.rates) / median(unflushed.rates);
  const isApart = Math.max(...flushed.rates) < Math.min(...unflushed.rates);
  const batches = isApart
    ? `${percent(share)} of the rate in batches`
    : "in batches a rate that differs within the noise";
  const times = flushed.awaitedP50Ms / unflushed.awaitedP50Ms;
  return `flushOnWrite: ${batches}, and ${times.toFixed(1)} times the wait for a single append`;
}

function formatSettings(settings: TunedSettings): string {
  const lines = settingLines(settings);
  if (lines.length === 0) return "settings: none; the defaults suit this machine";
  return [
    "settings to use, in a file for --config or as variables:",
    ...lines.map(({ file, env }) => `  ${file.padEnd(24)}  ${env}`),
  ].join("\n");
}

function settingLines(settings: TunedSettings): { file: string; env: string }[] {
  return (["profile", "workers", "blockBytes"] as const).flatMap((key) => {
    const value = settings[key];
    if (value === undefined) return [];
    return [{ file: `${fileKeyOf(key)} = ${JSON.stringify(value)}`, env: `${rowOf(key).env}=${value}` }];
  });
}

/** The file that --write makes. */
export function reportToToml({ machine, figures, settings }: TuneReport): string {
  const { workers, blockBytes } = figures;
  return [
    `# Measured by millrace tune on ${machine.cores} cores, with ${machine.directory} on the disk of the store.`,
    `# ${verdict("workers", workers, String)}`,
    `# ${verdict("block size", blockBytes, kib)}`,
    `# ${flushVerdict(figures)}`,
    ...settingLines(settings).map(({ file }) => file),
    "",
  ].join("\n");
}

/** The same for a program. Rates are messages a second, latencies milliseconds. */
export function reportToJson({ machine, syncs, figures, settings }: TuneReport): object {
  const dimensionOf = ({ candidates, choice, defaultValue }: Dimension): object => ({
    default: defaultValue,
    chosen: choice.value,
    certainty: choice.certainty,
    fastest: choice.fastest,
    gain: choice.gain,
    candidates: candidates.map(({ value, rates, cpuSecondsPerMillion, peakMib }) => ({
      value,
      messagesPerSecond: median(rates),
      rates,
      spread: spread(rates),
      cpuSecondsPerMillion: cpuSecondsPerMillion ?? null,
      peakMib: peakMib ?? null,
    })),
  });
  return {
    ...machine,
    rounds: figures.rounds,
    secondsPerRound: figures.secondsPerRound,
    settings,
    workers: dimensionOf(figures.workers),
    blockBytes: dimensionOf(figures.blockBytes),
    withoutFlushOnWrite: figures.unflushed,
    withFlushOnWrite: figures.flushed,
    syncsMs: syncs,
  };
}
