const TICKS_ABOUT = 5;

/** Where values stand on an axis, from 0 at its start to 1 at its end, and what is written there. */
export interface Scale {
  at(value: number): number;
  readonly ticks: readonly { readonly at: number; readonly text: string }[];
}

/** A linear axis whose ends are round; from zero unless the values lie close together. */
export function linearScale(values: readonly number[], format: (value: number) => string): Scale {
  const high = Math.max(...values);
  const low = Math.min(...values);
  const from = low >= 0 && low < high / 2 ? 0 : low;
  const step = roundStep((high - from || Math.abs(high) || 1) / TICKS_ABOUT);
  const start = Math.floor(from / step) * step;
  const end = Math.max(Math.ceil(high / step) * step, start + step);
  const at = (value: number): number => (value - start) / (end - start);
  const count = Math.round((end - start) / step);
  const ticks = Array.from({ length: count + 1 }, (_, index) => start + index * step);
  return {
    at,
    ticks: ticks.map((value) => ({ at: at(value), text: format(Number(value.toPrecision(12))) })),
  };
}

/** 1, 2 or 5 times a power of ten, at least `wanted`. */
function roundStep(wanted: number): number {
  const power = 10 ** Math.floor(Math.log10(wanted));
  return power * [1, 2, 5, 10].find((factor) => factor * power >= wanted * 0.999)!;
}

/** A logarithmic axis of whole decades, of values above zero; over a short one 2 and 5 are written too. */
export function logScale(values: readonly number[], format: (value: number) => string): Scale {
  const first = Math.floor(Math.log10(Math.min(...values)));
  const last = Math.max(Math.ceil(Math.log10(Math.max(...values))), first + 1);
  const at = (value: number): number => (Math.log10(value) - first) / (last - first);
  const factors = last - first <= 2 ? [1, 2, 5] : [1];
  const ticks = [];
  for (let decade = first; decade <= last; decade++) {
    for (const factor of factors) {
      if (decade < last || factor === 1) ticks.push(factor * 10 ** decade);
    }
  }
  return {
    at,
    ticks: ticks.map((value) => ({ at: at(value), text: format(Number(value.toPrecision(12))) })),
  };
}

/** How far in the tail a percentile is: 0 at 0 %, 1 at 90 %, 2 at 99 %, 3 at 99.9 %. */
export function tailDepth(percent: number): number {
  return -Math.log10(1 - percent / 100);
}

/** Microseconds in the unit that reads best. */
export function durationText(us: number): string {
  if (us < 1) return `${shortNumber(us * 1000)} ns`;
  if (us < 1000) return `${shortNumber(us)} µs`;
  return us < 1e6 ? `${shortNumber(us / 1000)} ms` : `${shortNumber(us / 1e6)} s`;
}

/** `2.46 M` for 2,460,123: for axes and labels, where a table has the rest. */
export function shortNumber(value: number): string {
  const size = Math.abs(value);
  if (size >= 1e9) return `${Number((value / 1e9).toPrecision(3))} G`;
  if (size >= 1e6) return `${Number((value / 1e6).toPrecision(3))} M`;
  if (size >= 1e4) return `${Number((value / 1e3).toPrecision(3))} k`;
  return String(Number(value.toPrecision(size >= 1000 ? 4 : 3)));
}
