import type { ChildProcess } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import os from "node:os";
import path from "node:path";

/** For a run of a bench to end what it started itself; an engine is not asked. */
const END_DEADLINE_MS = 15_000;
const END_POLL_MS = 10;
/** A directory into which a process wrote until it was killed may need another look. */
const REMOVAL = { recursive: true, force: true, maxRetries: 5, retryDelay: 50 } as const;
const DIRECTORY_NAME = /^millrace-bench-[a-z]+-(\d+)-[A-Za-z0-9]{6}$/;

/** Signals that end a run early, and leave nothing of it behind. */
const endingSignals = ["SIGHUP", "SIGINT", "SIGTERM"] as const;

interface Started {
  readonly child: ChildProcess;
  readonly endBy: NodeJS.Signals;
}

const started = new Set<Started>();
const directories = new Set<string>();
let isInstalled = false;

/** A new directory whose name holds this process, and which does not outlive it. */
export function makeBenchDirectory(root: string, what: string): string {
  install();
  const directory = mkdtempSync(path.join(root, `millrace-bench-${what}-${process.pid}-`));
  directories.add(directory);
  return directory;
}

export function removeBenchDirectory(directory: string): void {
  rmSync(directory, REMOVAL);
  directories.delete(directory);
}

/** Takes care that `child` does not outlive this process. One that starts others itself is ended `by` a signal that it hears. */
export function endWithBench<T extends ChildProcess>(child: T, by: NodeJS.Signals = "SIGKILL"): T {
  install();
  const entry = { child, endBy: by };
  started.add(entry);
  child.once("exit", () => started.delete(entry));
  child.once("error", () => {
    if (child.pid === undefined) started.delete(entry);
  });
  return child;
}

/** Removes what runs left behind that were killed: directories whose names hold a process that is no more. */
export function removeLeftovers(root: string): void {
  for (const name of readdirSync(root)) {
    const pid = DIRECTORY_NAME.exec(name)?.[1];
    if (pid === undefined || isRunning(Number(pid))) continue;
    try {
      rmSync(path.join(root, name), REMOVAL);
    } catch (error) {
      // Another user's, in a directory for all.
      const { code } = error as NodeJS.ErrnoException;
      if (code !== "EACCES" && code !== "EPERM") throw error;
    }
  }
}

/** Once there is something to end: a bench that starts nothing is left to the signal itself, also in a long loop. */
function install(): void {
  if (isInstalled) return;
  isInstalled = true;
  process.on("exit", cleanUp);
  for (const signal of endingSignals)
    process.once(signal, () => process.exit(128 + os.constants.signals[signal]));
}

/** Without an event loop, since the process ends: nothing of the bench runs meanwhile either. */
function cleanUp(): void {
  const deadlineMs = performance.now() + END_DEADLINE_MS;
  for (const { child, endBy } of started) child.kill(endBy);
  for (const { child } of started) {
    while (child.pid !== undefined && isRunning(child.pid)) {
      if (performance.now() > deadlineMs) child.kill("SIGKILL");
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, END_POLL_MS);
    }
  }
  for (const directory of directories) rmSync(directory, REMOVAL);
}

/** A zombie has ended: its parent here is not able to take note of it. */
function isRunning(pid: number): boolean {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    return !/^[ZX]/.test(stat.slice(stat.lastIndexOf(")") + 2));
  } catch {
    return false;
  }
}
