import { BenchRefusal } from "../bench-refusal.ts";
import type { BenchEnvironment } from "../environment.ts";
import type { NamedResult } from "./comparison.ts";

/** What decides a figure more than the code does: results that differ in it say nothing of the code. */
const machineKeys = ["cpu", "cores", "memory_mib", "store_file_system"] as const;
/** What of the memory a kernel or a virtual machine may keep at one start and not at another. */
const MEMORY_TOLERANCE = 0.02;
const runKeys = ["node", "kernel", "commit"] as const;

/** @throws BenchRefusal where results are of different benches */
export function checkSameBench(results: readonly NamedResult[]): void {
  const [first, ...rest] = results;
  const other = rest.find(({ result }) => result.bench !== first!.result.bench);
  if (other === undefined) return;
  throw new BenchRefusal(
    `cannot compare the bench ${first!.result.bench} of ${first!.path} with ${other.result.bench} of ${other.path}`,
  );
}

/** @throws BenchRefusal where results are of different messages: they cost and compress as they are */
export function checkSameDataSet(results: readonly NamedResult[]): void {
  const [first, ...rest] = results;
  const dataSetOf = ({ result }: NamedResult): string => result.environment.data_set;
  const other = rest.find((one) => dataSetOf(one) !== dataSetOf(first!));
  if (other === undefined) return;
  throw new BenchRefusal(
    `cannot compare the data set ${dataSetOf(first!)} of ${first!.path} with ${dataSetOf(other)} of ${other.path}`,
  );
}

function isSame(key: (typeof machineKeys)[number], one: BenchEnvironment, other: BenchEnvironment): boolean {
  if (key !== "memory_mib") return one[key] === other[key];
  return Math.abs(one[key] - other[key]) <= MEMORY_TOLERANCE * Math.max(one[key], other[key]);
}

/** @throws BenchRefusal that names both machines where there are two */
export function checkSameMachine(results: readonly NamedResult[]): void {
  const [first, ...rest] = results;
  for (const other of rest) {
    const differing = machineKeys.filter(
      (key) => !isSame(key, first!.result.environment, other.result.environment),
    );
    if (differing.length === 0) continue;
    const described = ({ path, result }: NamedResult): string =>
      `  ${path}: ${machineOf(result.environment)}`;
    throw new BenchRefusal(
      [
        `cannot compare results of two machines, which differ in ${differing.join(", ")}:`,
        described(first!),
        described(other),
        "--across-machines compares ratios within each result, and nothing else",
      ].join("\n"),
    );
  }
}

function machineOf(environment: BenchEnvironment): string {
  const { cpu, cores, memory_mib, store_file_system } = environment;
  return `${cpu}, ${cores} cores, ${memory_mib} MiB, ${store_file_system}`;
}

/** One line for each thing beside the machine that is not the same in all results. */
export function differencesOf(results: readonly NamedResult[]): string[] {
  const settings = new Set(results.flatMap(({ result }) => Object.keys(result.environment.settings)));
  const looks: [what: string, of: (environment: BenchEnvironment) => string][] = [
    ...runKeys.map(
      (key) =>
        [key, (environment: BenchEnvironment) => environment[key] ?? "unknown"] as [
          string,
          (environment: BenchEnvironment) => string,
        ],
    ),
    ...[...settings].map(
      (key) =>
        [key, ({ settings: all }: BenchEnvironment) => String(all[key] ?? "not set")] as [
          string,
          (environment: BenchEnvironment) => string,
        ],
    ),
  ];
  return looks
    .map(([what, of]) => [what, [...new Set(results.map(({ result }) => of(result.environment)))]] as const)
    .filter(([, found]) => found.length > 1)
    .map(([what, found]) => `${what}: ${found.join(" and ")}`);
}

/** Whether a setting is not the same in all results. */
export function haveSettingsThatDiffer(results: readonly NamedResult[]): boolean {
  const settingsOf = ({ result }: NamedResult): string =>
    JSON.stringify(Object.entries(result.environment.settings).sort(([a], [b]) => (a < b ? -1 : 1)));
  return new Set(results.map(settingsOf)).size > 1;
}

/** One line for each result whose machine had other things to do. */
export function loadWarnings(results: readonly NamedResult[]): string[] {
  return results
    .filter(({ result: { environment } }) => environment.load_average > environment.cores)
    .map(
      ({ path, result: { environment } }) =>
        `${path}: load average ${environment.load_average} on ${environment.cores} cores before it began: times are poor, CPU-seconds less so`,
    );
}
