import { spawnSync } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import type { TestContext } from "node:test";
import { bindingsPath } from "../../src/native/native-bindings.ts";
import { temporaryDirectory } from "./engine-process.ts";
import { requireProgram, skipOrFail } from "./require-program.ts";

// Compiled to dist/test/support/.
const root = path.join(import.meta.dirname, "..", "..", "..");
const script = path.join(root, "tools", "build-native.mjs");

export interface NativeBuild {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs the build script as `npm ci` does, into `directory`. `env` is all of its environment. */
export function buildNative(directory: string, env: Readonly<Record<string, string>>): NativeBuild {
  const options = { env, encoding: "utf8", timeout: 120_000 } as const;
  const { status, stdout, stderr } = spawnSync(process.execPath, [script, directory], options);
  return { code: status, stdout, stderr };
}

let built: string | undefined;

/** The path of an addon made from the sources as they are now, once a process; undefined when the test is skipped. */
export function builtAddon(t: TestContext): string | undefined {
  // Cross-compiled, where this process is emulated and could start no compiler.
  built ??= process.env["MILLRACE_TEST_ADDON"];
  if (built !== undefined) return built;
  if (process.platform !== "linux") {
    skipOrFail(t, "the native addon is for Linux");
    return undefined;
  }
  if (!requireProgram(t, "gcc", "build the native addon")) return undefined;
  const directory = mkdtempSync(path.join(tmpdir(), "millrace-native-"));
  process.on("exit", () => rmSync(directory, { recursive: true, force: true }));
  const { stderr } = buildNative(directory, { PATH: process.env["PATH"] ?? "", CC: "gcc -Werror" });
  const file = path.join(directory, `linux-${process.arch}.node`);
  if (!stderr.includes(`built ${file} with gcc`)) throw new Error(`the addon was not built: ${stderr}`);
  return (built = file);
}

/** The program as an installation of its own, with `place` putting an addon at the path that it is given. */
export function installation(
  t: TestContext,
  place: (addonPath: string) => void,
  arch = process.arch,
): string {
  const directory = temporaryDirectory(t);
  cpSync(path.join(root, "dist", "src"), path.join(directory, "dist", "src"), { recursive: true });
  cpSync(path.join(root, "package.json"), path.join(directory, "package.json"));
  symlinkSync(path.join(root, "node_modules"), path.join(directory, "node_modules"));
  const addonPath = path.join(
    directory,
    "native-bindings",
    "build",
    path.basename(bindingsPath({ platform: "linux", arch })),
  );
  mkdirSync(path.dirname(addonPath), { recursive: true });
  place(addonPath);
  return path.join(directory, "dist", "src", "millrace.js");
}
