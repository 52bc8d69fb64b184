import { markup, type Markup } from "./markup.ts";

/** Colours that the style sheet has. */
export const COLOR_COUNT = 10;
/** Ways to dash a line that it has. */
export const DASH_COUNT = 4;
/** Series of one plot that its legend can switch off; later ones are always shown. */
export const SWITCHED_SERIES_MAX = 48;

/** A line of a plot: `color` stands for the case, `dash` for the result. */
export interface SeriesName {
  readonly name: string;
  readonly index: number;
  readonly color: number;
  readonly dash: number;
}

export function seriesClass({ index, color, dash }: SeriesName): string {
  return `s${index} c${color % COLOR_COUNT} d${dash % DASH_COUNT}`;
}

/** What each line is; a click shows and hides it, by the style sheet alone. */
export function legend(series: readonly SeriesName[]): Markup {
  const items = series.map(
    (one) =>
      markup`<label class="${seriesClass(one)}"><input type="checkbox" checked class="s${one.index}"><svg class="swatch" viewBox="0 0 26 10" aria-hidden="true"><line x1="1" x2="25" y1="5" y2="5"/></svg>${one.name}</label>`,
  );
  return markup`<figcaption class="legend">${items}</figcaption>`;
}
