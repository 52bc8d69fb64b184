import { writeFileSync } from "node:fs";
import { systemCode } from "./core/errors.ts";

/** Which parts of a process's memory Linux puts into a core dump, as bits; see core(5). */
const COREDUMP_FILTER = "/proc/self/coredump_filter";
const NOTHING = "0";

/**
 * Sees to it that a crash leaves no payloads and no credentials behind: Node.js writes no report, which would hold the environment,
 * and a core dump has no memory in it. The limit of a core's size is not asked, since where cores go to a program it
 * does not hold. To be called on the main thread. @returns why that could not be done
 */
export function refuseCrashDumps(): string | undefined {
  const { report } = process;
  report.reportOnFatalError = false;
  report.reportOnUncaughtException = false;
  report.reportOnSignal = false;
  try {
    writeFileSync(COREDUMP_FILTER, NOTHING);
    return undefined;
  } catch (thrown) {
    return `a core dump of this process has its memory: ${systemCode(thrown) ?? "failed"} at ${COREDUMP_FILTER}`;
  }
}
