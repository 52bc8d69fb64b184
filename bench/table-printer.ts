import type { BenchRecord } from "./bench.ts";
import type { BenchEnvironment } from "./environment.ts";

const NAME_WIDTH = 46;
const COLUMN_WIDTH_MIN = 12;

/** Records as rows under each other, printed as they come; a new head line wherever the keys change. */
export class TablePrinter {
  readonly #writeLine: (line: string) => void;
  #head = "";

  constructor(writeLine: (line: string) => void) {
    this.#writeLine = writeLine;
  }

  printEnvironment(environment: BenchEnvironment): void {
    const { cpu, cores, memory_mib, kernel, node, commit, store_file_system, settings } = environment;
    this.#writeLine(`${cpu}, ${cores} cores, ${memory_mib} MiB, Linux ${kernel}, ${store_file_system}`);
    this.#writeLine(`Node ${node}, commit ${commit ?? "unknown"}`);
    const words = Object.entries(settings).map(([key, value]) => `${key}=${value}`);
    this.#writeLine(words.join(" "));
  }

  print(record: BenchRecord): void {
    const { name, values } = record;
    const shown = Object.entries(values).filter(([, value]) => !isRatios(record) || value !== null);
    const widths = shown.map(([key]) => Math.max(key.length, COLUMN_WIDTH_MIN) + 2);
    const cells = shown.map(([key], index) => key.padStart(widths[index]!));
    const head = "".padEnd(NAME_WIDTH) + cells.join("");
    if (head !== this.#head) {
      this.#writeLine("");
      this.#writeLine(head);
      this.#head = head;
    }
    const row = shown.map(([, value], index) => formatValue(value).padStart(widths[index]!));
    this.#writeLine(name.padEnd(NAME_WIDTH) + row.join(""));
  }
}

/** The record of ratios has the keys of all others too, without values. */
function isRatios(record: BenchRecord): boolean {
  return record.name === "ratios";
}

function formatValue(value: string | number | null): string {
  if (value === null) return "-";
  if (typeof value === "string") return value;
  return Math.abs(value) >= 1000 ? Math.round(value).toLocaleString("en-US") : String(value);
}
