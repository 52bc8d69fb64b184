import type { BenchRecord } from "../bench.ts";
import { figureKind, formatFigure } from "../figure-kinds.ts";
import { headLines, TABLE_WIDTH, wrapKey } from "../table-printer.ts";

/** Holds 9,999,999, a spread, a mark and a gap. */
const COLUMN_WIDTH = 17;
const HEAD_WIDTH = 14;
const LABEL_WIDTH_MIN = 24;

/** One table for each case: a row for each combination, each figure with half its spread over the runs. */
export function sweepLines(records: readonly BenchRecord[]): string[] {
  const cases = [...new Set(records.map(({ sweep }) => sweep!.case))];
  const lines = cases.flatMap((name) => {
    const rows = records.filter(({ sweep }) => sweep!.case === name);
    return ["", name, ...tableOf(rows)];
  });
  return [
    ...lines,
    "",
    "* the best; = runs that reach into those of the best: no difference shown. ± is half the spread of the runs",
  ];
}

function tableOf(rows: readonly BenchRecord[]): string[] {
  const labels = rows.map(({ sweep }) =>
    Object.entries(sweep!.parameters)
      .map(([name, value]) => `${name}=${value}`)
      .join(" "),
  );
  const labelWidth = Math.max(LABEL_WIDTH_MIN, ...labels.map((label) => label.length + 4));
  const keys = shownKeys(rows).slice(0, Math.max(1, Math.floor((TABLE_WIDTH - labelWidth) / COLUMN_WIDTH)));
  const marks = new Map(keys.map((key) => [key, marksOf(key, rows)]));
  const columns = keys.map((key) => ({ key, lines: wrapKey(key, HEAD_WIDTH), width: COLUMN_WIDTH }));
  return [
    ...headLines(columns).map((line) => "".padEnd(labelWidth - 1) + line),
    ...rows.map((row, index) => {
      const cells = keys.map((key) => cellOf(key, row) + marks.get(key)![index]!);
      return `  ${labels[index]!}`.padEnd(labelWidth) + cells.join("");
    }),
  ].map((line) => line.trimEnd());
}

/** Figures with a direction that are no details; of a tail what lies beyond p99 comes last. */
function shownKeys(rows: readonly BenchRecord[]): string[] {
  const keys = [...new Set(rows.flatMap(({ values }) => Object.keys(values)))];
  const shown = keys.filter((key) => {
    const { better, isDetail } = figureKind(key);
    return better !== null && isDetail !== true && rows.some(({ values }) => typeof values[key] === "number");
  });
  const isFarTail = (key: string): boolean => /p99_9/.test(key);
  return [...shown.filter((key) => !isFarTail(key)), ...shown.filter(isFarTail)];
}

function cellOf(key: string, { values, rounds }: BenchRecord): string {
  const value = values[key] ?? null;
  const runs = rounds?.[key] ?? [];
  if (typeof value !== "number" || runs.length < 2 || value === 0)
    return formatFigure(value).padStart(COLUMN_WIDTH - 1);
  const half = (Math.max(...runs) - Math.min(...runs)) / 2;
  const share = `±${Math.round((half / Math.abs(value)) * 100)}%`;
  return `${formatFigure(value)} ${share.padStart(5)}`.padStart(COLUMN_WIDTH - 1);
}

/** One sign for each row. */
export function marksOf(key: string, rows: readonly BenchRecord[]): string[] {
  const { better } = figureKind(key);
  const sign = better === "higher" ? 1 : -1;
  // Turned so that more is better.
  const turned = rows.map(({ values, rounds }) => {
    const value = values[key];
    if (typeof value !== "number") return undefined;
    const runs = rounds?.[key] ?? [value];
    return {
      value: sign * value,
      most: Math.max(...runs.map((run) => sign * run)),
      least: Math.min(...runs.map((run) => sign * run)),
    };
  });
  const best = turned.reduce(
    (most, one, index) =>
      one !== undefined && one.value > (turned[most]?.value ?? -Infinity) ? index : most,
    0,
  );
  return turned.map((one, index) => {
    if (one === undefined || turned[best] === undefined) return " ";
    if (index === best) return "*";
    return one.most >= turned[best].least ? "=" : " ";
  });
}
