import type { BenchRecord } from "./bench.ts";
import type { BenchEnvironment } from "./environment.ts";
import { figureKind, formatFigure } from "./figure-kinds.ts";

const NAME_WIDTH = 44;
const HEAD_WIDTH = 9;
/** Holds 9,999,999 and a gap. */
const COLUMN_WIDTH_MIN = 10;
/** What a table takes on a terminal. */
export const TABLE_WIDTH = 120;

export interface TablePrinterOptions {
  readonly writeLine: (line: string) => void;
  /** Characters; `Infinity` shows every figure. */
  readonly width: number;
}

/** Records as rows under each other, printed as they come; a new head wherever the keys change. */
export class TablePrinter {
  readonly #writeLine: (line: string) => void;
  readonly #width: number;
  readonly #hidden = new Set<string>();
  #head = "";

  constructor({ writeLine, width }: TablePrinterOptions) {
    this.#writeLine = writeLine;
    this.#width = width;
  }

  printEnvironment(environment: BenchEnvironment): void {
    for (const line of environmentLines(environment)) this.#writeLine(line);
  }

  print(record: BenchRecord): void {
    if (isRatios(record)) {
      this.#printRatios(record);
      return;
    }
    const { name, values } = record;
    const columns = this.#columnsOf(Object.keys(values));
    const head = columns.map(({ key }) => key).join(" ");
    if (head !== this.#head) {
      this.#writeLine("");
      for (const line of headLines(columns)) this.#writeLine("".padEnd(NAME_WIDTH) + line);
      this.#head = head;
    }
    const row = columns.map(({ key, width }) => formatFigure(values[key]!).padStart(width)).join("");
    if (name.length < NAME_WIDTH) this.#writeLine(name.padEnd(NAME_WIDTH) + row);
    else {
      this.#writeLine(name);
      this.#writeLine("".padEnd(NAME_WIDTH) + row);
    }
  }

  /** Says what the table left out. */
  finish(): void {
    if (this.#hidden.size === 0) return;
    this.#writeLine("");
    const lines = wrap([...this.#hidden], this.#width - 2, ", ");
    this.#writeLine("left out here, shown by --wide:");
    for (const line of lines) this.#writeLine(`  ${line}`);
  }

  #printRatios({ values }: BenchRecord): void {
    this.#writeLine("");
    this.#head = "";
    for (const [key, value] of Object.entries(values))
      if (value !== null)
        this.#writeLine(`${key.padEnd(NAME_WIDTH)}${formatFigure(value).padStart(COLUMN_WIDTH_MIN)}`);
  }

  /** As many as fit; details only where everything does. */
  #columnsOf(keys: readonly string[]): Column[] {
    const columns: Column[] = [];
    let left = this.#width - NAME_WIDTH;
    for (const key of keys) {
      const lines = wrapKey(key, HEAD_WIDTH);
      const width = Math.max(COLUMN_WIDTH_MIN, ...lines.map((line) => line.length + 1));
      if (this.#width !== Infinity && (figureKind(key).isDetail === true || width > left)) {
        this.#hidden.add(key);
        continue;
      }
      columns.push({ key, lines, width });
      left -= width;
    }
    return columns;
  }
}

export interface Column {
  readonly key: string;
  /** The key in short lines under each other. */
  readonly lines: readonly string[];
  readonly width: number;
}

/** Keys in short lines under each other, as a head of columns. */
export function headLines(columns: readonly Column[]): string[] {
  const height = Math.max(0, ...columns.map(({ lines }) => lines.length));
  return Array.from({ length: height }, (_, row) =>
    columns.map(({ lines, width }) => (lines[row - height + lines.length] ?? "").padStart(width)).join(""),
  );
}

/** A key in lines that end behind its words. */
export function wrapKey(key: string, width: number): string[] {
  return wrap(key.split(/(?<=_)(?!\d)/), width, "");
}

/** Words in lines of at most `width` characters, as far as their own length allows. */
function wrap(words: readonly string[], width: number, separator: string): string[] {
  const lines: string[] = [];
  for (const word of words) {
    const longer = lines.length === 0 ? undefined : lines.at(-1)! + separator + word;
    if (longer !== undefined && longer.length <= width) lines[lines.length - 1] = longer;
    else lines.push(word);
  }
  return lines;
}

/** Where and of what a result is, in lines. */
export function environmentLines(environment: BenchEnvironment): string[] {
  const { cpu, cores, memory_mib, kernel, node, commit, store_file_system, settings } = environment;
  const { data_set, load_average } = environment;
  return [
    `${cpu}, ${cores} cores, ${memory_mib} MiB, Linux ${kernel}, ${store_file_system}`,
    `Node ${node}, commit ${commit ?? "unknown"}, data set ${data_set}, load average ${load_average} before`,
    ...wrap(
      Object.entries(settings).map(([key, value]) => `${key}=${value}`),
      TABLE_WIDTH,
      " ",
    ),
  ];
}

/** The record of ratios has the keys of all others too, without values. */
export function isRatios(record: BenchRecord): boolean {
  return (record.sweep?.case ?? record.name) === "ratios";
}
