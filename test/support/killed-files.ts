import { constants } from "node:fs";
import fsPromises, { type FileHandle } from "node:fs/promises";
import { syncBuiltinESMExports } from "node:module";
import type { CleanUp } from "./program.ts";

class Killed extends Error {}

type Call = (...args: unknown[]) => Promise<unknown>;

/** Calls of an open file, and of names, that change something. */
const handleCalls = ["write", "truncate", "datasync", "sync", "chmod"] as const;
const nameCalls = ["link", "unlink", "rename", "open"] as const;

/**
 * This process as one that is killed between two calls of `node:fs/promises` that change a file: no later one does anything, and a
 * write may get half way. Reads go on, since they leave nothing behind.
 */
export class KilledFiles {
  /** So many calls still get through. */
  callsLeft = Infinity;

  private constructor() {
    // By `patch`.
  }

  /** Holds until the test ends. */
  static async patch(t: CleanUp): Promise<KilledFiles> {
    const files = new KilledFiles();
    const probe = await fsPromises.open("/dev/null");
    const handle = Object.getPrototypeOf(probe) as FileHandle;
    await probe.close();
    for (const name of handleCalls) files.#replace(t, handle as unknown as Record<string, Call>, name);
    for (const name of nameCalls) files.#replace(t, fsPromises as unknown as Record<string, Call>, name);
    syncBuiltinESMExports();
    t.after(() => syncBuiltinESMExports());
    return files;
  }

  get isDead(): boolean {
    return this.callsLeft < 0;
  }

  revive(): void {
    this.callsLeft = Infinity;
  }

  #replace(t: CleanUp, owner: Record<string, Call>, name: string): void {
    const original = owner[name]!;
    // eslint-disable-next-line @typescript-eslint/no-this-alias -- `this` of the call is the file
    const files = this;
    owner[name] = async function (this: unknown, ...args: unknown[]) {
      if (name === "open" && !makesFile(args)) return original.apply(this, args);
      files.callsLeft -= 1;
      // A kill takes nothing from the kernel: to sync costs time alone.
      if (files.callsLeft >= 0) return name.endsWith("sync") ? undefined : original.apply(this, args);
      if (files.callsLeft === -1 && name === "write") await original.apply(this, halfOf(args));
      throw new Killed(`killed at ${name}`);
    };
    t.after(() => void (owner[name] = original));
  }
}

function makesFile([, flags]: unknown[]): boolean {
  return typeof flags === "number" && (flags & constants.O_CREAT) !== 0;
}

/** A write of half of the bytes. */
function halfOf([bytes, offset, length, position]: unknown[]): unknown[] {
  return [bytes, offset, Math.floor((length as number) / 2), position];
}
