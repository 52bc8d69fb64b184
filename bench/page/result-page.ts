import type { BenchEnvironment } from "../environment.ts";
import { figureKind } from "../figure-kinds.ts";
import type { BenchResult } from "../result-file.ts";
import { benchSection, keysOf } from "./bench-section.ts";
import { markup, Markup } from "./markup.ts";
import type { PageResult } from "./page-result.ts";
import { styleSheet } from "./style-sheet.ts";

/** Nothing from anywhere, not even a script: what a file brings can at most be shown. */
const POLICY =
  "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'";

/** One page of HTML that needs nothing beside itself. */
export function resultPage(
  named: readonly { readonly title: string; readonly result: BenchResult }[],
): string {
  const results = named.map((one, index): PageResult => ({
    ...one,
    label: named.length > 1 ? labelOf(index) : "",
  }));
  const benches = [...new Set(results.map(({ result }) => result.bench))];
  const started = results.map(({ result }) => result.environment.started_at).sort();
  const title = `Millrace bench: ${benches.join(", ")}, ${started[0]?.slice(0, 10) ?? ""}`;
  const sections = benches.map((bench) => {
    const ofBench = results.filter(({ result }) => result.bench === bench);
    return benchSection(bench, ofBench);
  });
  return markup`<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="${POLICY}">
<link rel="icon" href="data:,"><title>${title}</title><style>${new Markup(styleSheet)}</style></head>
<body><h1>${title}</h1>
<p>Millrace stores messages of local programs in compressed files and uploads them. These are figures of its bench suite.</p>
${environmentTable(results)}
${loadWarnings(results)}
${sections}
${glossary(results)}
</body></html>
`.text;
}

function labelOf(index: number): string {
  const letter = String.fromCharCode(65 + (index % 26));
  return index < 26 ? letter : `${letter}${Math.floor(index / 26)}`;
}

/** What a result depends on beside the code; a row that is not the same in all is marked. */
function environmentTable(results: readonly PageResult[]): Markup {
  const settings = [...new Set(results.flatMap(({ result }) => Object.keys(result.environment.settings)))];
  const rows: [name: string, of: (environment: BenchEnvironment) => string][] = [
    ["machine", ({ cpu, cores, memory_mib }) => `${cpu}, ${cores} cores, ${memory_mib} MiB`],
    ["store's file system", ({ store_file_system }) => store_file_system],
    ["kernel", ({ kernel }) => `Linux ${kernel}`],
    ["Node.js", ({ node }) => node],
    ["commit", ({ commit }) => commit ?? "unknown"],
    ["data set", ({ data_set }) => data_set],
    ["started", ({ started_at }) => started_at.slice(0, 19).replace("T", " ")],
    ["load average before", ({ load_average }) => String(load_average)],
    ...settings.map((key): [string, (environment: BenchEnvironment) => string] => [
      key,
      ({ settings: all }) => String(all[key] ?? "-"),
    ]),
  ];
  const head =
    results.length > 1
      ? markup`<thead><tr><th></th>${results.map(({ label, title }) => markup`<th>${label}: ${title}</th>`)}</tr></thead>`
      : undefined;
  const body = rows.map(([name, of]) => {
    const cells = results.map(({ result }) => of(result.environment));
    const isCommon = name === "started" || name === "load average before" || isCommonWithin(results, of);
    return markup`<tr class="${isCommon ? "" : "differs"}"><th>${name}</th>${cells.map((cell) => markup`<td>${cell}</td>`)}</tr>`;
  });
  return markup`<div class="scroll"><table class="environment">${head}<tbody>${body}</tbody></table></div>`;
}

/** Whether the results of each bench agree: settings of different benches differ anyway. */
function isCommonWithin(
  results: readonly PageResult[],
  of: (environment: BenchEnvironment) => string,
): boolean {
  const found = results.map(({ result }) => ({ bench: result.bench, text: of(result.environment) }));
  return found.every(({ bench, text }) => found.every((one) => one.bench !== bench || one.text === text));
}

function loadWarnings(results: readonly PageResult[]): Markup | undefined {
  const busy = results.filter(({ result: { environment } }) => environment.load_average > environment.cores);
  if (busy.length === 0) return undefined;
  const loads = busy.map(({ label, result: { environment } }) =>
    `${label} ${environment.load_average} on ${environment.cores} cores`.trim(),
  );
  return markup`<p class="warning">The machine was busy when this began, load average ${loads.join(", ")}: times and rates are poor, CPU-seconds less so.</p>`;
}

function glossary(results: readonly PageResult[]): Markup {
  const keys = keysOf(results.flatMap(({ result }) => result.records));
  const entries = keys.map((key) => {
    const { meaning, better } = figureKind(key);
    return markup`<dt>${key}</dt><dd>${meaning}${better === null ? "" : `; ${better} is better`}</dd>`;
  });
  return markup`<h2>What the figures mean</h2><dl>${entries}</dl>`;
}
