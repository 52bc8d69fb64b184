// `npm run bench -- report result.json … --out out.html`
import { mkdirSync, writeFileSync } from "node:fs";
import path from "node:path";
import { BenchUsageError } from "../bench-usage-error.ts";
import { resultPage } from "../page/result-page.ts";
import { readResult, type BenchResult } from "../result-file.ts";
import { parseToolArgs } from "./tool-args.ts";

const usage = `Usage: npm run bench -- report result.json … --out page.html

Writes one page of HTML that needs nothing beside itself: tables, latency plots, CPU by thread, rounds, sweeps. Several results of a bench
stand beside each other.
`;

/** Writes the page of the results. */
export function report(args: readonly string[]): void {
  const { values, positionals } = parseToolArgs(args, {
    out: { type: "string" },
    help: { type: "boolean", default: false },
  });
  if (values.help) {
    process.stdout.write(usage);
    return;
  }
  if (positionals.length === 0 || values.out === undefined)
    throw new BenchUsageError("report takes results, and --out with the page's name");
  const results = positionals.map((file) => ({
    title: path.basename(file, ".json"),
    result: readResult(file),
  }));
  writeReport(values.out, results);
  process.stdout.write(`page: ${values.out}\n`);
}

export function writeReport(
  filePath: string,
  results: readonly { readonly title: string; readonly result: BenchResult }[],
): void {
  mkdirSync(path.dirname(path.resolve(filePath)), { recursive: true });
  writeFileSync(filePath, resultPage(results));
}
