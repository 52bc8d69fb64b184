import { spawnSync } from "node:child_process";
import { readFileSync, statfsSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import * as v from "valibot";
import { rowOf, settingKeys } from "../src/config/schema.ts";
import { parseThreadCpus } from "../src/core/thread-cpus.ts";
import { commitOfBuild } from "./build-record.ts";
import { BenchUsageError } from "./bench-usage-error.ts";
import { roundTo } from "./statistics.ts";

/** What a result depends on beside the code that is measured. */
export interface BenchEnvironment {
  readonly cpu: string;
  readonly cores: number;
  readonly memory_mib: number;
  readonly kernel: string;
  readonly node: string;
  /** With `+` when the tree had changes, and with a word where dist/ was not built from it; null outside a checkout. */
  readonly commit: string | null;
  readonly started_at: string;
  /** How many threads wanted to run in the minute before: over the number of cores, times are poor. */
  readonly load_average: number;
  readonly store_file_system: string;
  readonly data_set: string;
  readonly settings: Readonly<Record<string, string | number>>;
}

export const repositoryRoot = path.join(import.meta.dirname, "..", "..");

export function describeEnvironment(options: {
  /** Undefined where the engine was not started here. */
  storeRoot: string | undefined;
  dataSet: string;
  settings: Readonly<Record<string, string | number>>;
}): BenchEnvironment {
  return {
    cpu: os.cpus()[0]?.model ?? "unknown",
    cores: os.availableParallelism(),
    memory_mib: Math.round(os.totalmem() / 2 ** 20),
    kernel: os.release(),
    node: process.version,
    commit: commitMeasured(),
    started_at: new Date().toISOString(),
    load_average: roundTo(os.loadavg()[0] ?? 0, 3),
    store_file_system: options.storeRoot === undefined ? "unknown" : fileSystemOf(options.storeRoot),
    data_set: options.dataSet,
    settings: {
      ...options.settings,
      ...nodeVariables(),
      // An engine that was not started here has its own.
      ...(options.storeRoot === undefined ? {} : engineVariables()),
    },
  };
}

/** Of this process, and of those that it starts. */
function nodeVariables(): Record<string, string> {
  const { NODE_OPTIONS: nodeOptions } = process.env;
  return nodeOptions === undefined || nodeOptions === "" ? {} : { NODE_OPTIONS: nodeOptions };
}

/**
 * Settings that an engine started here would take over. What is free text may be a credential, or lead to one: of it only
 * that it was set.
 */
function engineVariables(): Record<string, string> {
  const found: Record<string, string> = {};
  for (const key of settingKeys) {
    const { env, kind, automatic } = rowOf(key);
    const value = process.env[env];
    if (value === undefined) continue;
    const isKnown = value === automatic || v.is(kind.schema, kind.fromText(value));
    const isClosed = kind.isClosed === true || (key === "threadCpus" && isThreadCpus(value));
    found[env] = isKnown && isClosed ? value : "(set)";
  }
  return found;
}

function isThreadCpus(text: string): boolean {
  try {
    parseThreadCpus(text);
    return true;
  } catch {
    return false;
  }
}

/** Numbers of `statfs` as linux/magic.h lists them, of file systems that live in memory. */
const memoryFileSystems = new Map([
  [0x01021994, "tmpfs"],
  [0x858458f6, "ramfs"],
]);

/** Refuses a directory in memory: writes and syncs cost nothing there, and the figures would flatter. @throws BenchUsageError */
export function checkStoreRoot(storeRoot: string): void {
  const inMemory = memoryFileSystems.get(statfsSync(storeRoot).type);
  if (inMemory !== undefined) {
    throw new BenchUsageError(
      `Cannot measure a store in ${storeRoot}: it is ${inMemory}; pass --store with a directory on a disk`,
    );
  }
}

/** The system's directory for temporary files, or one in the repository where that is in memory. */
export function defaultStoreRoot(): string {
  const isInMemory = memoryFileSystems.has(statfsSync(os.tmpdir()).type);
  return isInMemory ? path.join(repositoryRoot, ".cache", "bench") : os.tmpdir();
}

/** The type of the longest mount point above `directory`, such as `ext4`. */
function fileSystemOf(directory: string): string {
  const resolved = path.resolve(directory);
  let best = { mountPoint: "", type: "unknown" };
  for (const line of readFileSync("/proc/self/mounts", "utf8").split("\n")) {
    const [, mountPoint = "", type = ""] = line.split(" ");
    const isAbove = resolved === mountPoint || resolved.startsWith(mountPoint.replace(/\/?$/, "/"));
    if (mountPoint !== "" && isAbove && mountPoint.length >= best.mountPoint.length)
      best = { mountPoint, type };
  }
  return best.type;
}

function commitMeasured(): string | null {
  const commit = readCommit();
  return commit === null ? null : commitOfBuild(repositoryRoot, commit);
}

/** Of the checkout. */
export function readCommit(): string | null {
  const git = (...args: string[]): string | undefined => {
    const { status, stdout } = spawnSync("git", args, { cwd: repositoryRoot, encoding: "utf8" });
    return status === 0 ? stdout.trim() : undefined;
  };
  const commit = git("rev-parse", "--short=12", "HEAD");
  // An installed package may lie in a checkout of somebody else's.
  if (commit === undefined || git("rev-parse", "--show-toplevel") !== path.resolve(repositoryRoot))
    return null;
  return git("status", "--porcelain") === "" ? commit : `${commit}+`;
}
