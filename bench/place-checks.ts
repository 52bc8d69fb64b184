import { accessSync, constants, existsSync, mkdirSync, rmSync, statSync } from "node:fs";
import path from "node:path";
import { BenchUsageError } from "./bench-usage-error.ts";
import { checkStoreRoot } from "./environment.ts";

/** Makes the directory for stores where it is not there. @throws BenchUsageError where none can be measured in it, and then leaves none */
export function prepareStoreRoot(storeRoot: string): void {
  let made: string | undefined;
  try {
    made = mkdirSync(storeRoot, { recursive: true });
    accessSync(storeRoot, constants.R_OK | constants.W_OK | constants.X_OK);
    checkStoreRoot(storeRoot);
  } catch (cause) {
    if (made !== undefined) rmSync(made, { recursive: true, force: true });
    if (cause instanceof BenchUsageError) throw cause;
    throw new BenchUsageError(`--store ${storeRoot}: ${reasonOf(cause)}`, { cause });
  }
}

/** Of a file or a directory that is written once all was measured. @throws BenchUsageError where it cannot be */
function checkOutput(
  option: string,
  target: string,
  { isDirectory }: { readonly isDirectory: boolean },
): void {
  const resolved = path.resolve(target);
  try {
    if (existsSync(resolved) && statSync(resolved).isDirectory() !== isDirectory)
      throw new Error(isDirectory ? "is no directory" : "is a directory");
    let nearest = isDirectory ? resolved : path.dirname(resolved);
    while (!existsSync(nearest)) nearest = path.dirname(nearest);
    if (!statSync(nearest).isDirectory()) throw new Error(`${nearest} is no directory`);
    accessSync(nearest, constants.W_OK | constants.X_OK);
  } catch (cause) {
    throw new BenchUsageError(`--${option} ${target}: ${reasonOf(cause)}`, { cause });
  }
}

/** Of all that a run was told to write. @throws BenchUsageError for the first that cannot be written */
export function checkOutputs({
  out,
  report,
  profile,
}: {
  readonly out?: string | undefined;
  readonly report?: string | undefined;
  readonly profile?: string | undefined;
}): void {
  if (out !== undefined) checkOutput("out", out, { isDirectory: false });
  if (report !== undefined) checkOutput("report", report, { isDirectory: false });
  if (profile !== undefined) checkOutput("profile", profile, { isDirectory: true });
}

function reasonOf(cause: unknown): string {
  return cause instanceof Error ? cause.message : String(cause);
}
