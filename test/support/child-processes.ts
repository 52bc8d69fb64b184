import { readdirSync, readFileSync } from "node:fs";

/** What a process has started and what still runs: its own children, not theirs. */
export function processesOf(parent: number): { id: number; command: string }[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .flatMap((name) => {
      try {
        const status = readFileSync(`/proc/${name}/status`, "utf8");
        if (!status.includes(`\nPPid:\t${parent}\n`)) return [];
        return [{ id: Number(name), command: readFileSync(`/proc/${name}/cmdline`, "latin1") }];
      } catch {
        // It has ended meanwhile.
        return [];
      }
    });
}

export function isAlive(id: number): boolean {
  try {
    process.kill(id, 0);
    return true;
  } catch {
    return false;
  }
}
