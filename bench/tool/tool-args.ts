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

/** @throws BenchUsageError where the text is no whole number within the bounds */
export function integerOption(
  name: string,
  text: string,
  { min, max }: { readonly min: number; readonly max: number },
): number {
  const value = /^\d+$/.test(text) ? Number(text) : Number.NaN;
  if (value >= min && value <= max) return value;
  throw new BenchUsageError(`--${name} is "${text}", must be an integer from ${min} to ${max}`);
}
