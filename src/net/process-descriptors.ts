import { readdirSync, readFileSync } from "node:fs";
import { systemCode } from "../core/errors.ts";

/** The descriptors of this process: those that are open, and how many may be. */
export interface DescriptorCount {
  readonly openCount: number;
  readonly limit: number;
}

/**
 * Counts them. Node.js has raised the soft limit to the hard one at its start, so that this is all there is to have.
 * @returns undefined where the system does not tell: only Linux does, where /proc is mounted
 */
export function countDescriptors(): DescriptorCount | undefined {
  try {
    const line = /^Max open files\s+(\d+|unlimited)/m.exec(readFileSync("/proc/self/limits", "latin1"))?.[1];
    if (line === undefined) return undefined;
    const limit = line === "unlimited" ? Infinity : Number(line);
    // The listing has one open itself.
    return { openCount: readdirSync("/proc/self/fd").length - 1, limit };
  } catch (error) {
    const code = systemCode(error);
    // To count them takes one, too.
    return code === "EMFILE" || code === "ENFILE" ? { openCount: 1, limit: 1 } : undefined;
  }
}
