import { spawnSync } from "node:child_process";
import type { TestContext } from "node:test";

/**
 * Says whether `program` can be run. Where it is missing the test is skipped with the reason, and the caller returns;
 * under `CI=true`, where everything is installed, a missing program is a failure.
 * `why` completes "needed to …".
 */
export function requireProgram(t: TestContext, program: string, why: string): boolean {
  const { error } = spawnSync(program, ["--version"], { stdio: "ignore", timeout: 10_000 });
  if (error === undefined) return true;
  return skipOrFail(t, `program "${program}" is not installed; needed to ${why}`);
}

/** The same for a program that a variable names: `MILLRACE_TEST_NODE_22=/path/to/node`. Returns its path. */
export function requireProgramPath(t: TestContext, variable: string, why: string): string | undefined {
  const path = process.env[variable];
  if (path !== undefined && path !== "") return path;
  skipOrFail(t, `variable ${variable} does not name a program; needed to ${why}`);
  return undefined;
}

/** Skips the test where something is missing around it; under `CI=true` fails it. */
export function skipOrFail(t: TestContext, reason: string): false {
  if (process.env["CI"] === "true") throw new Error(reason);
  t.skip(reason);
  return false;
}
