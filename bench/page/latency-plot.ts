import type { LatencySummary } from "../latency-histogram.ts";
import { legend, seriesClass, type SeriesName } from "./legend.ts";
import { markup, type Markup } from "./markup.ts";
import { durationText, logScale, tailDepth } from "./scales.ts";

export interface LatencySeries extends SeriesName {
  readonly summary: LatencySummary;
}

const WIDTH = 760;
const HEIGHT = 400;
const LEFT = 68;
const RIGHT = 18;
const TOP = 12;
const BOTTOM = 46;
const VALUE_US_MIN = 0.001;
const percentTicks = [0, 50, 90, 99, 99.9, 99.99, 99.999, 99.9999, 99.99999] as const;
const DEPTH_MIN = 2;

interface Point {
  readonly percent: number;
  readonly depth: number;
  readonly us: number;
}

/** Percentiles as HDR plots show them: each step to the right is a tenth of what was left, and time grows by powers of ten. */
export function latencyPlot(waitedFor: string, series: readonly LatencySeries[]): Markup {
  const drawn = series.map((one) => ({ ...one, points: pointsOf(one.summary) }));
  const all = drawn.flatMap(({ points }) => points);
  const depthMax = Math.max(DEPTH_MIN, ...all.map(({ depth }) => depth));
  const time = logScale(
    all.map(({ us }) => us),
    durationText,
  );
  const x = (depth: number): number => LEFT + (depth / depthMax) * (WIDTH - LEFT - RIGHT);
  const y = (at: number): number => HEIGHT - BOTTOM - at * (HEIGHT - TOP - BOTTOM);
  const rows = time.ticks.map(
    ({
      at,
      text,
    }) => markup`<line class="grid" x1="${LEFT}" x2="${WIDTH - RIGHT}" y1="${y(at)}" y2="${y(at)}"/>
<text class="tick" x="${LEFT - 8}" y="${y(at) + 4}" text-anchor="end">${text}</text>`,
  );
  const columns = percentTicks
    .filter((percent) => tailDepth(percent) <= depthMax)
    .map(
      (
        percent,
      ) => markup`<line class="grid" x1="${x(tailDepth(percent))}" x2="${x(tailDepth(percent))}" y1="${TOP}" y2="${HEIGHT - BOTTOM}"/>
<text class="tick" x="${x(tailDepth(percent))}" y="${HEIGHT - BOTTOM + 18}" text-anchor="middle">${`${percent} %`}</text>`,
    );
  const lines = drawn.map(({ points, ...one }) => {
    const places = points.map(({ depth, us }) => [x(depth), y(time.at(us))] as const);
    const way = places.map(([left, top]) => `${left.toFixed(1)},${top.toFixed(1)}`).join(" ");
    const spots = points.map(({ percent, us }, index) => {
      const [left, top] = places[index]!;
      const isLast = index === points.length - 1;
      const what = isLast ? "longest" : `${percent} %`;
      return markup`<circle class="${isLast ? "end" : "spot"}" cx="${left}" cy="${top}" r="${isLast ? 3 : 6}"><title>${one.name}
${what}: ${durationText(us)}</title></circle>`;
    });
    return markup`<g class="series ${seriesClass(one)}"><polyline points="${way}"/>${spots}</g>`;
  });
  return markup`<figure class="plot latency"><div class="scroll"><svg viewBox="0 0 ${WIDTH} ${HEIGHT}" role="img" aria-label="Percentiles of ${waitedFor}">
${rows}${columns}
<text class="axis" x="${(LEFT + WIDTH - RIGHT) / 2}" y="${HEIGHT - 6}" text-anchor="middle">share of all that took no longer</text>
${lines}</svg></div>
${legend(series)}</figure>`;
}

/** Percentiles that the count resolves; the longest stands where one in `count` does. */
function pointsOf({ count, max_us, percentiles_us }: LatencySummary): Point[] {
  const depthMax = Math.log10(Math.max(count, 1));
  const inside = percentiles_us
    .filter(([percent]) => percent < 100 && tailDepth(percent) < depthMax)
    .map(([percent, us]) => ({ percent, depth: tailDepth(percent), us: Math.max(us, VALUE_US_MIN) }));
  return [...inside, { percent: 100, depth: depthMax, us: Math.max(max_us, VALUE_US_MIN) }];
}
