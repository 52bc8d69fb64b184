import type { Readable, Writable } from "node:stream";
import type { Machine } from "../config/setting-row.ts";

/** The world as a command sees it; the entry passes the process's own. */
export interface CommandContext {
  readonly machine: Machine;
  readonly stdin: Readable;
  readonly stdout: Writable;
  readonly stderr: Writable;
}

/** A wrong command line: exit code 2, where everything else that fails is 1. */
export class UsageError extends Error {}

/** Writes, and waits while the reader is slower than we are. */
export async function writeAll(target: Writable, data: string | Uint8Array): Promise<void> {
  if (target.write(data)) return;
  await new Promise<void>((resolve) => {
    const settle = () => {
      target.off("drain", settle);
      target.off("close", settle);
      resolve();
    };
    target.on("drain", settle);
    target.on("close", settle);
  });
}

/** Writes one line. */
export async function writeLine(target: Writable, line: string): Promise<void> {
  await writeAll(target, `${line}\n`);
}
