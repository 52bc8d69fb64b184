import { seriesClass, legend, type SeriesName } from "./legend.ts";
import { markup, type Markup } from "./markup.ts";
import { linearScale, shortNumber } from "./scales.ts";

export interface SweepPoint {
  /** What stands on the x axis, one of `steps`. */
  readonly step: string;
  readonly value: number;
  readonly rounds: readonly number[];
}

export interface SweepSeries extends SeriesName {
  readonly points: readonly SweepPoint[];
}

export interface SweepPlotOptions {
  readonly figure: string;
  readonly parameter: string;
  /** Values of the parameter in their order; they stand at even distances. */
  readonly steps: readonly string[];
  readonly series: readonly SweepSeries[];
}

const WIDTH = 440;
const HEIGHT = 260;
const LEFT = 62;
const RIGHT = 20;
const TOP = 34;
const BOTTOM = 44;
/** About that of a tick's text, of which no two may touch. */
const CHARACTER_WIDTH = 7;

/** One figure over one parameter: lines join the values, dots are the rounds. */
export function sweepPlot({ figure, parameter, steps, series }: SweepPlotOptions): Markup {
  const all = series.flatMap(({ points }) => points.flatMap(({ value, rounds }) => [value, ...rounds]));
  const scale = linearScale(all, shortNumber);
  const gap = (WIDTH - LEFT - RIGHT) / steps.length;
  const x = (step: string): number => LEFT + (steps.indexOf(step) + 0.5) * gap;
  const y = (at: number): number => HEIGHT - BOTTOM - at * (HEIGHT - TOP - BOTTOM);
  const rows = scale.ticks.map(
    ({
      at,
      text,
    }) => markup`<line class="grid" x1="${LEFT}" x2="${WIDTH - RIGHT}" y1="${y(at)}" y2="${y(at)}"/>
<text class="tick" x="${LEFT - 8}" y="${y(at) + 4}" text-anchor="end">${text}</text>`,
  );
  const labelWidth = Math.max(...steps.map((step) => step.length)) * CHARACTER_WIDTH + CHARACTER_WIDTH;
  const labelEvery = Math.max(1, Math.ceil(labelWidth / gap));
  const labelled = steps.filter((_, index) => index % labelEvery === 0);
  const columns = labelled.map(
    (step) =>
      markup`<text class="tick" x="${x(step)}" y="${HEIGHT - BOTTOM + 18}" text-anchor="middle">${step}</text>`,
  );
  // Series of one place would hide each other's dots.
  const aside = (index: number): number => (index - (series.length - 1) / 2) * 5;
  const lines = series.map((one, index) => {
    const way = one.points
      .map(({ step, value }) => `${x(step).toFixed(1)},${y(scale.at(value)).toFixed(1)}`)
      .join(" ");
    const dots = one.points.flatMap(({ step, value, rounds }) => [
      ...rounds.map(
        (round) =>
          markup`<circle class="round" cx="${x(step) + aside(index)}" cy="${y(scale.at(round))}" r="2.5"/>`,
      ),
      markup`<circle class="end" cx="${x(step)}" cy="${y(scale.at(value))}" r="4"><title>${one.name}
${parameter}=${step}: ${shortNumber(value)}</title></circle>`,
    ]);
    return markup`<g class="series ${seriesClass(one)}"><polyline points="${way}"/>${dots}</g>`;
  });
  return markup`<figure class="plot sweep"><div class="scroll"><svg viewBox="0 0 ${WIDTH} ${HEIGHT}" role="img" aria-label="${figure} over ${parameter}">
<text class="figure" x="6" y="15">${figure}</text>
${rows}${columns}
<text class="axis" x="${(LEFT + WIDTH - RIGHT) / 2}" y="${HEIGHT - 6}" text-anchor="middle">${parameter}</text>
${lines}</svg></div>
${series.length > 1 ? legend(series) : undefined}</figure>`;
}
