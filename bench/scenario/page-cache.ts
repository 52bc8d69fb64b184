import { writeFileSync } from "node:fs";

/** Said of a cold case where it cannot be measured. */
export const COLD_NOTE = "not measured: only root may empty the page cache";

/** Makes Linux forget what it keeps of files in memory. @returns false where it may not be asked: only root may */
export function dropCaches(): boolean {
  try {
    writeFileSync("/proc/sys/vm/drop_caches", "1");
    return true;
  } catch {
    return false;
  }
}
