import { randomFill } from "node:crypto";
import { promisify } from "node:util";
import type { Settings } from "./config/schema.ts";
import { assertCpusExist, parseThreadCpus, type ThreadCpus, type ThreadRole } from "./core/thread-cpus.ts";
import { loadNativeBindings, type NativeBindings } from "./native/native-bindings.ts";
import {
  PIN_NEEDS_ADDON,
  type PlaceRefusal,
  placeThread,
  startingCpus,
  type ThreadPlace,
  type ThreadsOptions,
} from "./native/thread-placement.ts";
import { EventName } from "./observe/events.ts";
import type { Logger } from "./observe/logger.ts";

/** What the kernel is asked for about the threads of this engine. */
export interface Threads {
  readonly bindings: NativeBindings | undefined;
  readonly stream: ThreadsOptions;
  readonly export: ThreadsOptions;
}

/**
 * Names and pins the main thread, and says where the others go.
 * @throws {MillraceError} INVALID_SETTING where they are to run on CPUs that this process may not use
 */
export async function placeThreads(settings: Settings, logger: Logger): Promise<Threads> {
  const bindings = loadNative(settings, logger);
  const useNative = bindings !== undefined;
  const onRefused = ({ operation, reason }: PlaceRefusal): void =>
    logger.warn(EventName.NativeRefused, { operation, reason });
  const { workerHeapMib: heapMibMax } = settings;
  const cpusOf = choosePlaces(settings, bindings, logger);
  // A thread starts where its maker runs: those of Node.js's own pool are to be there before this thread is pinned.
  if (cpusOf("main") !== undefined) await promisify(randomFill)(Buffer.alloc(1));
  const main = { name: "mr-main", cpus: cpusOf("main"), useNative };
  for (const refusal of placeThread(main, bindings)) onRefused(refusal);
  return {
    bindings,
    stream: { cpus: cpusOf("stream"), useNative, heapMibMax, onRefused },
    export: { cpus: cpusOf("export"), useNative, heapMibMax, onRefused },
  };
}

/** The CPUs of each role. Without a way to pin there are none, which is told. */
function choosePlaces(
  { threadCpus }: Settings,
  bindings: NativeBindings | undefined,
  logger: Logger,
): (role: ThreadRole) => ThreadPlace["cpus"] {
  if (threadCpus === undefined) return () => undefined;
  const wanted: ThreadCpus = parseThreadCpus(threadCpus);
  const available = startingCpus(bindings);
  if (available !== undefined) assertCpusExist(wanted, available);
  if (bindings === undefined) {
    logger.warn(EventName.ThreadsUnpinned, { setting: "MILLRACE_THREAD_CPUS", reason: PIN_NEEDS_ADDON });
    return () => undefined;
  }
  // Where nothing is said of a role its threads may run anywhere, and not where the main thread, which makes them, is pinned to.
  return (role) => wanted[role] ?? (role === "main" ? undefined : available);
}

/** Undefined where there is no addon, or it is not wanted: then the official Node.js client waits for the kernel's timers. */
function loadNative({ nativeBindings }: Settings, logger: Logger): NativeBindings | undefined {
  if (!nativeBindings) {
    logger.info(EventName.NativeMissing, { reason: "it is turned off by a setting" });
    return undefined;
  }
  const state = loadNativeBindings();
  const { path } = state;
  if (state.bindings !== undefined) logger.info(EventName.NativeLoaded, { path });
  else if (state.isFault) logger.warn(EventName.NativeMissing, { path, reason: state.reason });
  else logger.info(EventName.NativeMissing, { path, reason: state.reason });
  return state.bindings;
}
