import { totalmem } from "node:os";

/** What this process may use: the machine's memory, or less where a control group says so. */
export function machineMemoryBytes(): number {
  return Math.min(totalmem(), process.constrainedMemory() || Infinity);
}
