import type { BenchResult } from "../result-file.ts";

/** A result on a page, and how the page calls it. */
export interface PageResult {
  /** What it is known by: the name of its file. */
  readonly title: string;
  /** `A`, `B`, …; empty where it stands alone. */
  readonly label: string;
  readonly result: BenchResult;
}
