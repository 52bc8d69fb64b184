import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { temporaryDirectory } from "./engine-process.ts";
import type { CleanUp } from "./program.ts";

/** Beside this file's source; C is not copied to dist/. */
const source = path.join(import.meta.dirname, "..", "..", "..", "test", "support", "fault-shim.c");

/** One file call of the watched process, in the order in which the calls were made over all its threads. */
export interface ShimCall {
  /** From 1 on. */
  readonly number: number;
  readonly call: string;
  /** What a rule made of it; undefined where none did. */
  readonly fault: string | undefined;
  /** -1 for calls without one. */
  readonly offset: number;
  readonly length: number;
  readonly path: string;
}

let library: string | undefined;

/** Compiled once a process, with the program that `requireProgram(t, "gcc", …)` asks for. */
function builtLibrary(): string {
  if (library !== undefined) return library;
  const directory = mkdtempSync(path.join(tmpdir(), "millrace-shim-"));
  process.on("exit", () => rmSync(directory, { recursive: true, force: true }));
  const built = path.join(directory, "fault-shim.so");
  const { status, stderr } = spawnSync(
    "gcc",
    ["-O2", "-Wall", "-shared", "-fPIC", "-o", built, source, "-ldl", "-lpthread"],
    { encoding: "utf8" },
  );
  if (status !== 0) throw new Error(`cannot build the fault shim: ${stderr}`);
  return (library = built);
}

/** File faults for one process: `fault-shim.c` says what a rule is. A process is under it when it is started with `env`. */
export class FaultShim {
  readonly #rulesPath: string;
  readonly #logPath: string;
  readonly #directory: string;

  /** `directory`: what is watched; it need not be there yet. */
  constructor(t: CleanUp, { directory }: { directory: string }) {
    const own = temporaryDirectory(t);
    this.#rulesPath = path.join(own, "rules");
    this.#logPath = path.join(own, "log");
    this.#directory = directory;
    this.setRules();
  }

  get env(): Record<string, string> {
    return {
      LD_PRELOAD: builtLibrary(),
      FAULT_DIRECTORY: this.#directory,
      FAULT_RULES: this.#rulesPath,
      FAULT_LOG: this.#logPath,
    };
  }

  /** Holds from the next call on, also in a process that runs; every rule counts from 1 again. */
  setRules(...rules: string[]): void {
    const temporary = `${this.#rulesPath}.new`;
    writeFileSync(temporary, rules.map((rule) => `${rule}\n`).join(""));
    renameSync(temporary, this.#rulesPath);
  }

  /** What the process did so far. */
  calls(): ShimCall[] {
    return this.#logText()
      .split("\n")
      .slice(0, -1)
      .map((line) => {
        const [number, call = "", fault, offset, length, , ...rest] = line.split(" ");
        return {
          number: Number(number),
          call,
          fault: fault === "-" ? undefined : fault,
          offset: Number(offset),
          length: Number(length),
          path: rest.join(" "),
        };
      });
  }

  /** Begins the log again, before a process is started. */
  clearLog(): void {
    rmSync(this.#logPath, { force: true });
  }

  #logText(): string {
    try {
      return readFileSync(this.#logPath, "utf8");
    } catch {
      return "";
    }
  }
}

/** The calls that change something: those that "any" counts. */
export function changesOf(calls: readonly ShimCall[]): ShimCall[] {
  return calls.filter(({ call }) => call !== "open" && call !== "pread");
}
