// Plots in rows: a label, and beneath it marks that stand at percents of the width. They need no fixed width, so they fit any screen.
import { COLOR_COUNT } from "./legend.ts";
import { markup, type Markup } from "./markup.ts";
import { linearScale, logScale, shortNumber, type Scale } from "./scales.ts";

export interface StackedBar {
  readonly name: string;
  /** Bars of one kin are on one axis. */
  readonly kin: number;
  readonly parts: readonly { readonly part: string; readonly value: number }[];
}

function axis({ ticks }: Scale): Markup {
  return markup`<div class="ticks" aria-hidden="true">${ticks.map(({ at, text }) => markup`<span style="left:${at * 100}%">${text}</span>`)}</div>`;
}

function gridOf({ ticks }: Scale): Markup {
  return markup`${ticks.map(({ at }) => markup`<i class="line" style="left:${at * 100}%"></i>`)}`;
}

function totalOf({ parts }: StackedBar): number {
  return parts.reduce((sum, { value }) => sum + value, 0);
}

const TOTAL_MIN = 1e-9;

/** One bar for each name; parts of one name have one colour throughout. Totals of one power of ten share an axis from zero. */
export function stackedBars(bars: readonly StackedBar[], unit: string): Markup {
  const parts = [...new Set(bars.flatMap((bar) => bar.parts.map(({ part }) => part)))];
  const colorOf = (part: string): number => parts.indexOf(part) % COLOR_COUNT;
  const decadeOf = ({ kin }: StackedBar): number => {
    const first = bars.find((other) => other.kin === kin)!;
    return Math.floor(Math.log10(Math.max(totalOf(first), TOTAL_MIN)));
  };
  const decades = [...new Set(bars.map(decadeOf))].sort((one, two) => one - two);
  const groups = decades.map((decade) => {
    const group = bars.filter((bar) => decadeOf(bar) === decade);
    const scale = linearScale([0, ...group.map(totalOf)], shortNumber);
    return markup`${group.map((bar) => barRow(bar, { scale, unit, colorOf }))}${axis(scale)}`;
  });
  const names = parts.map(
    (part) => markup`<span class="c${colorOf(part)}"><i class="block"></i>${part}</span>`,
  );
  return markup`<figure class="plot bars">${groups}<figcaption class="legend"><span class="unit">${unit}</span>${names}</figcaption></figure>`;
}

function barRow(
  bar: StackedBar,
  { scale, unit, colorOf }: { scale: Scale; unit: string; colorOf: (part: string) => number },
): Markup {
  const segments = bar.parts.map(
    ({ part, value }) =>
      markup`<span class="segment c${colorOf(part)}" style="width:${scale.at(value) * 100}%" title="${part}: ${String(value)} ${unit}"></span>`,
  );
  return markup`<div class="row"><div class="label"><span>${bar.name}</span><b>${shortNumber(totalOf(bar))}</b></div>
<div class="track bar">${gridOf(scale)}${segments}</div></div>`;
}

export interface RoundsRow {
  readonly name: string;
  readonly color: number;
  readonly rounds: readonly number[];
  readonly median: number;
  /** What 100 % are. */
  readonly reference: number;
}

/** Each round as a dot in percent of the row's reference; within a row time goes from top to bottom, so drift is a slope. */
export function roundsPlot(key: string, rows: readonly RoundsRow[]): Markup {
  const share = (value: number, { reference }: RoundsRow): number => (value / reference) * 100;
  const shown = rows.filter(({ reference }) => reference > 0);
  const scale = linearScale(
    [90, 110, ...shown.flatMap((row) => row.rounds.map((round) => share(round, row)))],
    (value) => `${shortNumber(value)} %`,
  );
  const drawn = shown.map((row) => {
    const dots = row.rounds.map((round, index) => {
      const top = 16 + ((index + 0.5) / row.rounds.length) * 68;
      return markup`<i class="dot" style="left:${scale.at(share(round, row)) * 100}%;top:${top}%" title="round ${index + 1}: ${shortNumber(round)}"></i>`;
    });
    return markup`<div class="row c${row.color % COLOR_COUNT}"><div class="label"><span>${row.name}</span><b>${shortNumber(row.median)}</b></div>
<div class="track dots">${gridOf(scale)}<i class="middle" style="left:${scale.at(share(row.median, row)) * 100}%"></i>${dots}</div></div>`;
  });
  return markup`<figure class="plot rounds" data-key="${key}">${drawn}${axis(scale)}</figure>`;
}

export interface RatioRow {
  readonly name: string;
  readonly values: readonly { readonly label: string; readonly color: number; readonly value: number }[];
}

/** Beyond it a linear axis would press small ratios together. */
const LINEAR_SPAN_MAX = 8;

/** Ratios on one axis with a line at 1. */
export function ratiosPlot(rows: readonly RatioRow[]): Markup {
  const values = rows.flatMap((row) => row.values.map(({ value }) => value)).filter((value) => value > 0);
  if (values.length === 0) return markup``;
  const shown = [...values, 0.9, 1.1];
  const isWide = Math.max(...shown) / Math.min(...shown) > LINEAR_SPAN_MAX;
  const scale = isWide ? logScale(shown, shortNumber) : linearScale([0, ...shown], shortNumber);
  const drawn = rows.map(({ name, values: ratios }) => {
    const dots = ratios
      .filter(({ value }) => value > 0)
      .map(
        ({ label, color, value }) =>
          markup`<i class="dot c${color % COLOR_COUNT}" style="left:${scale.at(value) * 100}%;top:50%" title="${label} ${shortNumber(value)}"></i>`,
      );
    const told = ratios.map(({ label, value }) => `${label} ${shortNumber(value)}`.trim()).join(", ");
    return markup`<div class="row"><div class="label"><span>${name}</span><b>${told}</b></div>
<div class="track dots">${gridOf(scale)}<i class="one" style="left:${scale.at(1) * 100}%"></i>${dots}</div></div>`;
  });
  return markup`<figure class="plot ratios">${drawn}${axis(scale)}</figure>`;
}
