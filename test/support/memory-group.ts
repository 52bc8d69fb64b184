import { existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from "node:fs";
import path from "node:path";
import { setTimeout as after } from "node:timers/promises";
import type { CleanUp } from "./program.ts";

const MOUNT = "/sys/fs/cgroup";
const REMOVE_TRIES_MAX = 100;

/** The files of a control group, which have other names in each version. */
interface Files {
  readonly limit: string;
  readonly swap: string;
  readonly peak: string;
  /** Has a line `oom_kill <n>`. */
  readonly events: string;
}

const filesOfVersion1: Files = {
  limit: "memory.limit_in_bytes",
  swap: "memory.memsw.limit_in_bytes",
  peak: "memory.max_usage_in_bytes",
  events: "memory.oom_control",
};
const filesOfVersion2: Files = {
  limit: "memory.max",
  swap: "memory.swap.max",
  peak: "memory.peak",
  events: "memory.events",
};

/** A control group whose processes have so much memory together, page cache included, and no swap. Removed when the test ends. */
export class MemoryGroup {
  readonly #directory: string;
  readonly #files: Files;

  private constructor(directory: string, files: Files) {
    this.#directory = directory;
    this.#files = files;
  }

  /** @returns why there is none, where none can be made */
  static make(t: CleanUp, limitBytes: number): MemoryGroup | string {
    const reasons: string[] = [];
    for (const { parents, files } of places()) {
      // The nearest group that takes one: in version 2 a group that has processes of its own takes none.
      for (const parent of parents) {
        const group = new MemoryGroup(
          path.join(parent, `millrace-test-${process.pid}-${nextNumber++}`),
          files,
        );
        try {
          group.#create(limitBytes);
        } catch (error) {
          reasons.push(error instanceof Error ? error.message : String(error));
          continue;
        }
        t.after(() => group.#remove());
        return group;
      }
    }
    return `no control group for memory can be made here: ${reasons[0] ?? "there is no such controller"}`;
  }

  #create(limitBytes: number): void {
    mkdirSync(this.#directory);
    try {
      writeFileSync(this.#file("limit"), String(limitBytes));
      // Not there where the kernel does not count swap.
      if (existsSync(this.#file("swap")))
        writeFileSync(this.#file("swap"), this.#files === filesOfVersion2 ? "0" : String(limitBytes));
    } catch (error) {
      rmdirSync(this.#directory);
      throw error;
    }
  }

  async #remove(): Promise<void> {
    for (let tries = 0; ; tries++) {
      try {
        rmdirSync(this.#directory);
        return;
      } catch (error) {
        // The last process may not be gone to the end.
        if (tries === REMOVE_TRIES_MAX) throw error;
        await after(50);
      }
    }
  }

  #file(which: keyof Files): string {
    return path.join(this.#directory, this.#files[which]);
  }

  /** Takes in a process, which keeps what memory it has elsewhere. */
  add(pid: number): void {
    writeFileSync(path.join(this.#directory, "cgroup.procs"), String(pid));
  }

  /** A program, made in `directory`, that is Node.js within the group. */
  nodeWithin(directory: string): string {
    const program = path.join(directory, "node-within");
    const join = `echo $$ > '${this.#directory}/cgroup.procs' || exit 97`;
    writeFileSync(program, `#!/bin/sh\n${join}\nexec '${process.execPath}' "$@"\n`, { mode: 0o755 });
    return program;
  }

  /** How many processes of it the kernel has killed for want of memory. */
  get killCount(): number {
    return Number(/^oom_kill (\d+)$/m.exec(readFileSync(this.#file("events"), "latin1"))![1]);
  }

  /** Most that was in use at a time, page cache included; undefined where the kernel does not say. */
  get peakBytes(): number | undefined {
    return existsSync(this.#file("peak")) ? Number(readFileSync(this.#file("peak"), "latin1")) : undefined;
  }
}

let nextNumber = 0;

/** Where a group may be made: version 1 in the group of this process, version 2 there or above it. */
function places(): { parents: string[]; files: Files }[] {
  if (!existsSync("/proc/self/cgroup")) return [];
  return readFileSync("/proc/self/cgroup", "latin1")
    .trimEnd()
    .split("\n")
    .flatMap((line) => {
      const [, controllers = "", own = "/"] = /^\d+:([^:]*):(.*)$/.exec(line) ?? [];
      if (controllers.split(",").includes("memory"))
        return [{ parents: [path.join(MOUNT, "memory", own)], files: filesOfVersion1 }];
      if (controllers !== "" || !existsSync(path.join(MOUNT, "cgroup.controllers"))) return [];
      const parents = [path.join(MOUNT, own)];
      while (parents.at(-1) !== MOUNT) parents.push(path.dirname(parents.at(-1)!));
      return [{ parents: parents.filter(givesMemory), files: filesOfVersion2 }];
    });
}

function givesMemory(directory: string): boolean {
  const file = path.join(directory, "cgroup.subtree_control");
  return existsSync(file) && /\bmemory\b/.test(readFileSync(file, "latin1"));
}
