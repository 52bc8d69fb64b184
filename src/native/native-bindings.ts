import { createRequire } from "node:module";
import path from "node:path";

/** The same number as in native-bindings/bindings.h, raised together with it. */
export const INTERFACE_VERSION = 2;

/** What the addon can do. Each call costs about 0.2 us beside what the kernel does: for a read or a block, not for a message. */
export interface NativeBindings {
  /** Sets TCP_QUICKACK once. Returns 0 or the number of the system's error. */
  acknowledgeNow(descriptor: number): number;
  /** Names the calling thread, in 15 bytes at most. Returns 0 or the number of the system's error. */
  setThreadName(name: string): number;
  /** Of the calling thread. */
  threadName(): string;
  /** Lets the calling thread run on these CPUs only. Returns 0 or the number of the system's error. */
  pinThread(cpus: readonly number[]): number;
  /** The CPUs that the calling thread may run on, ascending. */
  threadCpus(): number[];
}

/** The addon, or why there is none. */
export type NativeState =
  | { readonly bindings: NativeBindings; readonly path: string }
  | {
      readonly bindings: undefined;
      readonly path: string;
      readonly reason: string;
      /** Whether there is a file that is of no use, which nobody wants, or just none. */
      readonly isFault: boolean;
    };

const functionNames = [
  "acknowledgeNow",
  "setThreadName",
  "threadName",
  "pinThread",
  "threadCpus",
] as const satisfies readonly (keyof NativeBindings)[];

/** Where tools/build-native.mjs puts what is built for this machine, in the repository and in the package alike. */
export function bindingsPath({
  platform,
  arch,
}: Pick<NodeJS.Process, "platform" | "arch"> = process): string {
  const build = path.join(import.meta.dirname, "..", "..", "..", "native-bindings", "build");
  return path.join(build, `${platform}-${arch}.node`);
}

/** Loads the addon into this thread. Never throws: whatever the file is, Millrace works without. */
export function loadNativeBindings(file = bindingsPath()): NativeState {
  let exported: unknown;
  try {
    exported = createRequire(import.meta.url)(file);
  } catch (thrown) {
    if (isNotFound(thrown)) {
      return { bindings: undefined, path: file, reason: "it was not built for this machine", isFault: false };
    }
    return {
      bindings: undefined,
      path: file,
      reason: `it cannot be loaded: ${describe(thrown)}`,
      isFault: true,
    };
  }
  const reason = unlikeness(exported);
  if (reason !== undefined) return { bindings: undefined, path: file, reason, isFault: true };
  return { bindings: exported as NativeBindings, path: file };
}

/** Why this is not the addon that the rest was written for. */
function unlikeness(exported: unknown): string | undefined {
  const given = exported as { readonly [key: string]: unknown } | null | undefined;
  const version = given?.["interfaceVersion"];
  if (version !== INTERFACE_VERSION) {
    return `it is of another build: its interface has version ${String(version)}, ${INTERFACE_VERSION} is needed`;
  }
  const missing = functionNames.find((name) => typeof given?.[name] !== "function");
  return missing === undefined ? undefined : `it is of another build: it has no ${missing}`;
}

function isNotFound(thrown: unknown): boolean {
  return thrown instanceof Error && "code" in thrown && thrown.code === "MODULE_NOT_FOUND";
}

/** The first line: for a module that cannot be found or loaded Node.js adds a stack of paths. */
function describe(thrown: unknown): string {
  const text = thrown instanceof Error ? thrown.message : String(thrown);
  return text.split("\n", 1)[0]!;
}
