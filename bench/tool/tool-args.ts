import { parseArgs, type ParseArgsConfig } from "node:util";
import { BenchUsageError } from "../bench-usage-error.ts";

/** The words behind a tool's name. @throws BenchUsageError on an option that it does not have */
export function parseToolArgs<const T extends NonNullable<ParseArgsConfig["options"]>>(
  args: readonly string[],
  options: T,
): ReturnType<typeof parseArgs<{ args: string[]; allowPositionals: true; options: T }>> {
  try {
    return parseArgs({ args: [...args], allowPositionals: true, options });
  } catch (error) {
    throw new BenchUsageError(error instanceof Error ? error.message : String(error));
  }
}
