import { median, roundTo } from "../statistics.ts";
import { statusMib } from "./process-stats.ts";

const SAMPLE_MS = 50;
const DIGITS = 4;

/** Looks at what a process has resident, again and again, from its making until `stop`. */
export class MemorySampler {
  readonly #pid: number;
  readonly #timer: NodeJS.Timeout;
  readonly #residentMib: number[] = [];
  /** Its two parts: heaps, buffers and stacks; and pages of files, mostly the program itself. */
  readonly #anonymousMib: number[] = [];
  readonly #fileMib: number[] = [];

  constructor(pid: number) {
    this.#pid = pid;
    this.#sample();
    this.#timer = setInterval(() => this.#sample(), SAMPLE_MS);
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  values(): Record<string, number> {
    const middle = (values: readonly number[]): number => roundTo(median(values), DIGITS);
    return {
      rss_min_mib: roundTo(Math.min(...this.#residentMib), DIGITS),
      rss_median_mib: middle(this.#residentMib),
      rss_max_mib: roundTo(Math.max(...this.#residentMib), DIGITS),
      rss_end_mib: roundTo(this.#residentMib.at(-1)!, DIGITS),
      anonymous_median_mib: middle(this.#anonymousMib),
      file_median_mib: middle(this.#fileMib),
      samples: this.#residentMib.length,
    };
  }

  #sample(): void {
    this.#residentMib.push(statusMib(this.#pid, "VmRSS"));
    this.#anonymousMib.push(statusMib(this.#pid, "RssAnon"));
    this.#fileMib.push(statusMib(this.#pid, "RssFile"));
  }
}
