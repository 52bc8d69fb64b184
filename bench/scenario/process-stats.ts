// What Linux tells of a process (proc(5)).
import { readdirSync, readFileSync } from "node:fs";

/** `getconf CLK_TCK`; Linux has reported times to programs in these units since 2.6, whatever its own tick is. */
const CLOCK_TICKS_PER_S = 100;

/** User and system seconds by thread name; threads of one name are one entry. */
export type ThreadTimes = ReadonlyMap<string, number>;

/** User and system time of all threads since the start, those that ended too. */
export function processCpuSeconds(pid: number): number {
  return parseStat(readFileSync(`/proc/${pid}/stat`, "latin1")).cpuS;
}

/** Of the threads that run now. */
export function threadCpuSeconds(pid: number): ThreadTimes {
  const times = new Map<string, number>();
  for (const task of readdirSync(`/proc/${pid}/task`)) {
    const stat = readThread(pid, task);
    if (stat === undefined) continue;
    times.set(stat.name, (times.get(stat.name) ?? 0) + stat.cpuS);
  }
  return times;
}

/** What each thread used from `before` to `after`; one that used nothing is left out. */
export function threadTimesBetween(before: ThreadTimes, after: ThreadTimes): ThreadTimes {
  const used = [...after].map(([name, cpuS]) => [name, cpuS - (before.get(name) ?? 0)] as const);
  return new Map(used.filter(([, cpuS]) => cpuS > 0));
}

/** Bytes that the process made the kernel write to storage, or undefined where it is not told. */
export function storageWrittenBytes(pid: number): number | undefined {
  try {
    const written = /^write_bytes: (\d+)$/m.exec(readFileSync(`/proc/${pid}/io`, "latin1"))?.[1];
    return written === undefined ? undefined : Number(written);
  } catch {
    return undefined;
  }
}

/** A field of `/proc/<pid>/status` that is given in KiB, such as `VmRSS` and `VmHWM`. @throws where it is not there */
export function statusMib(pid: number, field: string): number {
  const status = readFileSync(`/proc/${pid}/status`, "latin1");
  const found = new RegExp(`^${field}:\\s+(\\d+) kB$`, "m").exec(status)?.[1];
  if (found === undefined) throw new Error(`/proc/${pid}/status has no ${field}`);
  return Number(found) / 1024;
}

/** Undefined when the thread has ended in the meantime. */
function readThread(pid: number, task: string): { name: string; cpuS: number } | undefined {
  try {
    return parseStat(readFileSync(`/proc/${pid}/task/${task}/stat`, "latin1"));
  } catch {
    return undefined;
  }
}

/** The second field is the name in parentheses and may hold blanks; utime and stime are fields 14 and 15. */
function parseStat(stat: string): { name: string; cpuS: number } {
  const nameEnd = stat.lastIndexOf(")");
  const fields = stat.slice(nameEnd + 2).split(" ");
  const cpuS = (Number(fields[11]) + Number(fields[12])) / CLOCK_TICKS_PER_S;
  return { name: stat.slice(stat.indexOf("(") + 1, nameEnd), cpuS };
}
