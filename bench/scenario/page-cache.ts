import { writeFileSync } from "node:fs";

/** Makes Linux forget what it keeps of files in memory. @returns false where it may not be asked: only root may */
export function dropCaches(): boolean {
  try {
    writeFileSync("/proc/sys/vm/drop_caches", "1");
    return true;
  } catch {
    return false;
  }
}
