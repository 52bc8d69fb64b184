import { MillraceError } from "./errors.ts";
import { THREAD_CPU_MAX } from "./thread-limits.ts";

/** The threads of an engine that a setting places. */
export const threadRoles = ["main", "stream", "export"] as const;
export type ThreadRole = (typeof threadRoles)[number];

/** Of each role the CPUs that its threads may run on, ascending; a role that is missing may run on all. */
export type ThreadCpus = Readonly<Partial<Record<ThreadRole, readonly number[]>>>;

export const THREAD_CPUS_FORM = "main=<CPUs>;stream=<CPUs>;export=<CPUs>, any of them, with CPUs as in 0,2-3";

const PART = /^\s*([^=\s]+)\s*=\s*(\S+)\s*$/;
const RANGE = /^(\d{1,9})(?:-(\d{1,9}))?$/;

/** Reads MILLRACE_THREAD_CPUS. @throws {MillraceError} INVALID_SETTING, with the part and what is wrong with it */
export function parseThreadCpus(text: string): ThreadCpus {
  const cpus: Partial<Record<ThreadRole, readonly number[]>> = {};
  for (const part of text.split(";")) {
    // A semicolon may end the last one as well.
    if (part.trim() === "") continue;
    const [, name = "", list = ""] = PART.exec(part) ?? [];
    const role = threadRoles.find((one) => one === name);
    if (role === undefined) throw invalid(part, `must be of the form ${THREAD_CPUS_FORM}`);
    if (cpus[role] !== undefined) throw invalid(part, `is the second for ${role}`);
    cpus[role] = parseCpuList(list, (problem) => invalid(part, problem));
  }
  return cpus;
}

/** Reads `0,2-3`, the kernel's own way to write CPUs. Ascending, each once. */
export function parseCpuList(text: string, refusal: (problem: string) => Error): readonly number[] {
  const cpus = new Set<number>();
  for (const item of text.split(",")) {
    const [, firstText, lastText = firstText] = RANGE.exec(item) ?? [];
    if (firstText === undefined) throw refusal(`has ${JSON.stringify(item)}, which is no CPU and no range`);
    const [first, last] = [Number(firstText), Number(lastText)];
    if (last > THREAD_CPU_MAX) throw refusal(`has CPU ${last}, and there are none above ${THREAD_CPU_MAX}`);
    if (last < first) throw refusal(`has the range ${item}, which ends before it begins`);
    for (let cpu = first; cpu <= last; cpu++) cpus.add(cpu);
  }
  return [...cpus].sort((a, b) => a - b);
}

/** `[0, 2, 3]` as `0,2-3`. */
export function formatCpuList(cpus: readonly number[]): string {
  const ranges: [number, number][] = [];
  for (const cpu of cpus) {
    const open = ranges.at(-1);
    if (open?.[1] === cpu - 1) open[1] = cpu;
    else ranges.push([cpu, cpu]);
  }
  return ranges.map(([first, last]) => (first === last ? `${first}` : `${first}-${last}`)).join(",");
}

/** @throws {MillraceError} INVALID_SETTING where a thread is to run on CPUs that this process does not have */
export function assertCpusExist(wanted: ThreadCpus, available: readonly number[]): void {
  for (const role of threadRoles) {
    const missing = (wanted[role] ?? []).filter((cpu) => !available.includes(cpu));
    if (missing.length === 0) continue;
    const text = `${role}=${formatCpuList(wanted[role]!)}`;
    const has = `this process may use ${formatCpuList(available)}`;
    throw invalid(text, `names CPU ${formatCpuList(missing)}, and ${has}`);
  }
}

const SHOWN_LENGTH_MAX = 80;

function invalid(part: string, problem: string): MillraceError {
  const shown = part.length <= SHOWN_LENGTH_MAX ? part : `${part.slice(0, SHOWN_LENGTH_MAX)}…`;
  return new MillraceError(
    "INVALID_SETTING",
    `MILLRACE_THREAD_CPUS: ${JSON.stringify(shown.trim())} ${problem}`,
  );
}
