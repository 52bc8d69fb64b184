import type { BenchRecord } from "../bench.ts";
import { figureKind } from "../figure-kinds.ts";
import { markup, type Markup } from "./markup.ts";
import { sweepPlot, type SweepPoint, type SweepSeries } from "./sweep-plot.ts";

type SweptRecord = BenchRecord & { readonly sweep: NonNullable<BenchRecord["sweep"]> };

/** Plots of what each case did over the parameters of a sweep; nothing where there was none. */
export function sweepSection(records: readonly BenchRecord[], resultLabel: string): Markup | undefined {
  const swept = records.filter((record): record is SweptRecord => record.sweep !== undefined);
  if (swept.length === 0) return undefined;
  const cases = [...new Set(swept.map(({ sweep }) => sweep.case))];
  const plots = cases.map((name) => {
    const ofCase = swept.filter(({ sweep }) => sweep.case === name);
    return markup`<h4>${name}</h4><div class="small-plots">${plotsOf(ofCase)}</div>`;
  });
  return markup`<h3>Sweep${resultLabel}</h3>
<p>Each combination of the parameters was a run of its own, in random order and several times, so that a machine that drifts is not taken for
an effect. Lines join the values, dots are rounds: where the dots of two settings mix, nothing was shown.</p>${plots}`;
}

/** One plot for each figure that is not a detail, over the parameter with the most values; the others make lines. */
function plotsOf(records: readonly SweptRecord[]): Markup[] {
  const names = [...new Set(records.flatMap(({ sweep }) => Object.keys(sweep.parameters)))];
  const valuesOf = (name: string): string[] => [
    ...new Set(records.map(({ sweep }) => sweep.parameters[name] ?? "default")),
  ];
  const parameter = names.reduce(
    (most, name) => (valuesOf(name).length > valuesOf(most).length ? name : most),
    names[0]!,
  );
  const others = names.filter((name) => name !== parameter);
  const seriesName = ({ sweep }: SweptRecord): string =>
    others.map((name) => `${name}=${sweep.parameters[name] ?? "default"}`).join(", ");
  const series = [...new Set(records.map(seriesName))];
  const figures = [...new Set(records.flatMap(({ values }) => Object.keys(values)))].filter((key) => {
    const { better, isDetail } = figureKind(key);
    return (
      better !== null && isDetail !== true && records.some(({ values }) => typeof values[key] === "number")
    );
  });
  return figures.map((figure) =>
    sweepPlot({
      figure,
      parameter,
      steps: valuesOf(parameter),
      series: series.map((name, index): SweepSeries => ({
        name: name === "" ? figure : name,
        index,
        color: index,
        dash: 0,
        points: records
          .filter((record) => seriesName(record) === name)
          .flatMap((record): SweepPoint[] => {
            const value = record.values[figure];
            const step = record.sweep.parameters[parameter] ?? "default";
            return typeof value === "number" ? [{ step, value, rounds: record.rounds?.[figure] ?? [] }] : [];
          }),
      })),
    }),
  );
}
