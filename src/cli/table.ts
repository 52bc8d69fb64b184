import { printableText } from "./printable.ts";

/** Rows as aligned columns, two blanks between them. Columns of numbers are aligned right, and those that `right` names. */
export function formatTable(
  head: readonly string[],
  rows: readonly (readonly (string | number)[])[],
  { right = [] }: { readonly right?: readonly number[] } = {},
): string {
  const lines = [head, ...rows.map((row) => row.map(formatCell))];
  const widths = head.map((_, column) => Math.max(...lines.map((line) => (line[column] ?? "").length)));
  const isNumeric = head.map(
    (_, column) =>
      right.includes(column) || (rows.length > 0 && rows.every((row) => typeof row[column] === "number")),
  );
  return lines
    .map((line) => {
      const cells = line.map((cell, column) =>
        isNumeric[column] === true ? cell.padStart(widths[column] ?? 0) : cell.padEnd(widths[column] ?? 0),
      );
      return cells.join("  ").trimEnd();
    })
    .join("\n");
}

/** Names and values below each other, the values aligned. */
export function formatFields(fields: readonly (readonly [string, string | number])[]): string {
  const width = Math.max(...fields.map(([name]) => name.length));
  return fields.map(([name, value]) => `${name.padEnd(width)}  ${formatCell(value)}`.trimEnd()).join("\n");
}

/** Text from a stream's definition, or from a destination, must not move the terminal's cursor. */
function formatCell(cell: string | number): string {
  return typeof cell === "number" ? String(cell) : printableText(cell);
}

const UNITS = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"] as const;

/** `1536` as `1.5 KiB`. */
export function formatBytes(bytes: number): string {
  let value = bytes;
  let unit = "B";
  for (const next of UNITS) {
    if (value < 1024) break;
    value /= 1024;
    unit = next;
  }
  return `${Number(value.toFixed(1))} ${unit}`;
}

const DURATIONS: readonly (readonly [string, number])[] = [
  ["d", 86_400_000],
  ["h", 3_600_000],
  ["min", 60_000],
  ["s", 1000],
];

/** In the largest unit that says it without a fraction: `60000` as `1 min`. */
export function formatDuration(ms: number): string {
  for (const [unit, unitMs] of DURATIONS) if (ms > 0 && ms % unitMs === 0) return `${ms / unitMs} ${unit}`;
  return `${ms} ms`;
}

/** To two digits or so, as somebody says it who waits: `8000000` as `2.2 h`. */
export function formatSpan(ms: number): string {
  const [unit, unitMs] = DURATIONS.find(([, least]) => ms >= least) ?? ["s", 1000];
  const value = ms / unitMs;
  return `${value >= 10 ? Math.round(value) : Number(value.toFixed(1))} ${unit}`;
}

/** Lines of at most so many columns, where blanks allow it; those after the first are indented further. */
export function wrapText(
  text: string,
  { columns, indent }: { readonly columns: number; readonly indent: string },
): string {
  const lines: string[] = [];
  let line = indent;
  for (const word of formatCell(text).split(" ")) {
    if (line.trim() !== "" && line.length + 1 + word.length > columns) {
      lines.push(line);
      line = `${indent}${indent}`;
    }
    line += line.trim() === "" ? word : ` ${word}`;
  }
  return [...lines, line].join("\n");
}

/** Unix milliseconds as people and programs read them. */
export function formatTime(ms: number): string {
  return new Date(ms).toISOString();
}

/** `1 message`, `2 messages`. */
export function countOf(count: number | string, noun: string): string {
  return `${count} ${noun}${String(count) === "1" ? "" : "s"}`;
}
