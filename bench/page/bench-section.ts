import type { BenchRecord } from "../bench.ts";
import { figureKind, formatFigure, isRatioKey } from "../figure-kinds.ts";
import { median } from "../statistics.ts";
import { isRatios } from "../table-printer.ts";
import { latencyPlot } from "./latency-plot.ts";
import { COLOR_COUNT } from "./legend.ts";
import { markup, Markup } from "./markup.ts";
import type { PageResult } from "./page-result.ts";
import { ratiosPlot, roundsPlot, stackedBars, type RatioRow, type RoundsRow } from "./strips.ts";
import { sweepSection } from "./sweep-section.ts";

/** One record of one result, with its place among the cases and results of a page. */
interface Entry {
  readonly record: BenchRecord;
  /** The case, and the result where there are several. */
  readonly name: string;
  readonly caseIndex: number;
  readonly resultIndex: number;
  readonly result: PageResult;
}

/** Everything of one bench: each case of one result stands beside the same of the others. */
export function benchSection(bench: string, results: readonly PageResult[]): Markup {
  const entries = entriesOf(results);
  const [only] = results;
  const title = results.length === 1 && only!.label !== "" ? `${bench}, ${only!.label}` : bench;
  const measured = entries.filter(({ record }) => !isRatios(record));
  return markup`<h2>${title}</h2>
${results.map(({ label, result }) => sweepSection(result.records, results.length === 1 ? "" : `, ${label}`))}
${figuresTable(measured, results.length)}
${ratiosOf(entries, results.length)}
${latenciesOf(measured)}
${threadsOf(measured)}
${roundsOf(measured)}`;
}

/** Keys that hold a figure in any of the records, in the order of the records. */
export function keysOf(records: readonly BenchRecord[]): string[] {
  const keys = new Set(records.flatMap(({ values }) => Object.keys(values)));
  return [...keys].filter((key) => records.some(({ values }) => (values[key] ?? null) !== null));
}

function entriesOf(results: readonly PageResult[]): Entry[] {
  const cases = [...new Set(results.flatMap(({ result }) => result.records.map(({ name }) => name)))];
  return cases.flatMap((name, caseIndex) =>
    results.flatMap((result, resultIndex) =>
      result.result.records
        .filter((record) => record.name === name)
        .map((record): Entry => {
          const shownName = results.length === 1 ? name : `${result.label}: ${name}`;
          return { record, name: shownName, caseIndex, resultIndex, result };
        }),
    ),
  );
}

function figuresTable(entries: readonly Entry[], resultCount: number): Markup | undefined {
  const keys = keysOf(entries.map(({ record }) => record));
  if (keys.length === 0) return undefined;
  const hasResults = resultCount > 1;
  const isSwept = entries.some(({ record }) => record.sweep !== undefined);
  const head = keys.map((key) => markup`<th title="${figureKind(key).meaning}">${brokenKey(key)}</th>`);
  const rows = entries.map(({ record, caseIndex, result }, index) => {
    const isFirst = entries[index - 1]?.caseIndex !== caseIndex;
    const isLast = entries[index + 1]?.caseIndex !== caseIndex;
    const rowCount = entries.filter((other) => other.caseIndex === caseIndex).length;
    const name = isFirst ? markup`<th rowspan="${rowCount}">${record.name}</th>` : undefined;
    const cells = keys.map((key) => markup`<td>${formatFigure(record.values[key] ?? null)}</td>`);
    const label = hasResults ? markup`<td>${result.label}</td>` : undefined;
    return markup`<tr class="${isLast ? "" : "next"}">${name}${label}${cells}</tr>`;
  });
  const table = markup`<p>A rate is the median of its rounds; percentiles and costs are of all rounds together.</p>
<div class="scroll"><table class="figures${isSwept ? " swept" : ""}"><thead><tr><th class="name">case</th>${hasResults ? markup`<th></th>` : undefined}${head}</tr></thead><tbody>${rows}</tbody></table></div>`;
  if (isSwept) return markup`<details><summary>Figures of every combination</summary>${table}</details>`;
  return markup`<h3>Figures</h3>${table}`;
}

/** A key that may be broken behind each of its words. */
function brokenKey(key: string): Markup {
  return markup`${key.split(/(?<=_)/).map((word) => markup`${word}<wbr>`)}`;
}

function ratiosOf(entries: readonly Entry[], resultCount: number): Markup | undefined {
  const rows = new Map<string, RatioRow["values"]>();
  for (const { record, resultIndex, result } of entries) {
    for (const [key, value] of Object.entries(record.values)) {
      if (!isRatioKey(key) || typeof value !== "number") continue;
      const name = isRatios(record) && record.sweep === undefined ? key : `${record.name}: ${key}`;
      rows.set(name, [
        ...(rows.get(name) ?? []),
        { label: resultCount > 1 ? result.label : "", color: resultIndex, value },
      ]);
    }
  }
  if (rows.size === 0) return undefined;
  return markup`<h3>Ratios</h3>
<p>Two cases of one run that took turns, so that both had the same machine. The dark line is 1: as fast as what it is measured against.</p>
${ratiosPlot([...rows].map(([name, values]) => ({ name, values })))}`;
}

function latenciesOf(entries: readonly Entry[]): Markup | undefined {
  const kinds = [...new Set(entries.flatMap(({ record }) => Object.keys(record.latencies ?? {})))];
  if (kinds.length === 0) return undefined;
  const plots = kinds.map((kind) => {
    const series = entries.flatMap(({ record, name, caseIndex, resultIndex }) => {
      const summary = record.latencies?.[kind];
      return summary === undefined ? [] : [{ name, color: caseIndex, dash: resultIndex, summary }];
    });
    const indexed = series.map((one, index) => {
      const color = indexOfColor(series, one.color);
      // Where the colours begin anew, other dashes tell the lines apart.
      return { ...one, index, color, dash: one.dash + 2 * Math.floor(color / COLOR_COUNT) };
    });
    return markup`<h4>${kind}</h4>${latencyPlot(kind, indexed)}`;
  });
  return markup`<h3>Latency</h3>
<p>Time from a request to its answer. Each step to the right leaves a tenth of the waits: a line that stays flat means that the slowest are
hardly slower than the others. A line ends at the longest wait. Under a window of requests that is kept full, most of the time is spent in
line; a case that awaits each answer shows the engine's own time. A click on a name hides its line.</p>${plots}`;
}

/** Colours by case, without gaps for the cases that have no distribution. */
function indexOfColor(series: readonly { readonly color: number }[], color: number): number {
  return [...new Set(series.map((one) => one.color))].indexOf(color);
}

function threadsOf(entries: readonly Entry[]): Markup | undefined {
  const bars = entries
    .filter(({ record }) => record.threads !== undefined)
    .map(({ record, name, caseIndex }) => ({
      name,
      kin: caseIndex,
      parts: Object.entries(record.threads ?? {}).map(([part, value]) => ({ part, value })),
    }));
  if (bars.length === 0) return undefined;
  return markup`<h3>CPU by thread</h3>
<p>What each thread took for a GB of payload, user and kernel. The longest part of a bar is what limits a machine with cores enough; the
whole bar is what limits a small one. "driver" is the load generator, which is no part of the product. Cases that differ tenfold have axes of
their own.</p>
${stackedBars(bars, "CPU-seconds per GB")}`;
}

/** Plots of all figures that have rounds: the first is open. */
function roundsOf(entries: readonly Entry[]): Markup | undefined {
  const keys = [...new Set(entries.flatMap(({ record }) => Object.keys(record.rounds ?? {})))];
  const shown = keys.filter((key) => figureKind(key).isDetail !== true);
  const plots = shown.map((key, index) => {
    const references = new Map<number, number>();
    const rows = entries.flatMap(({ record, name, caseIndex, resultIndex }): RoundsRow[] => {
      const rounds = record.rounds?.[key];
      if (rounds === undefined || rounds.length === 0) return [];
      const middle = median(rounds);
      if (!references.has(caseIndex)) references.set(caseIndex, middle);
      return [{ name, color: resultIndex, rounds, median: middle, reference: references.get(caseIndex)! }];
    });
    const open = new Markup(index === 0 ? " open" : "");
    return markup`<details${open}><summary>${key}</summary>${roundsPlot(key, rows)}</details>`;
  });
  if (plots.length === 0) return undefined;
  return markup`<h3>Rounds</h3>
<p>Each dot is a round, in percent of the median of the case's first result; within a row time goes from top to bottom. Dots far apart are the
noise of the machine: a difference smaller than that was not measured.</p>${plots}`;
}
