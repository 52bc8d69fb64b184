import { readFileSync, writeFileSync } from "node:fs";
import { getSystemErrorName } from "node:util";
import { parseCpuList } from "../core/thread-cpus.ts";
import { loadNativeBindings, type NativeBindings } from "./native-bindings.ts";

/** How a thread is to be seen and where it is to run. A plain object: it is cloned into workers. */
export interface ThreadPlace {
  /** Of 15 bytes at most, as the kernel keeps it. */
  readonly name: string;
  /** Undefined leaves it where it is. A thread starts on the CPUs of the one that made it. */
  readonly cpus: readonly number[] | undefined;
  /** Whether the addon may be used. */
  readonly useNative: boolean;
}

/** What of a place could not be had. */
export interface PlaceRefusal {
  readonly operation: string;
  readonly reason: string;
}

/** Where worker threads run, all of a kind alike. */
export interface ThreadsOptions {
  readonly cpus: ThreadPlace["cpus"];
  readonly useNative: boolean;
  /** Of their old objects; V8 decides if undefined. */
  readonly heapMibMax: number | undefined;
  readonly onRefused: (refusal: PlaceRefusal) => void;
}

export const anywhere: ThreadsOptions = {
  cpus: undefined,
  useNative: false,
  heapMibMax: undefined,
  onRefused: () => undefined,
};

export const PIN_NEEDS_ADDON = "only the native addon can pin threads, and it is not in use";

/**
 * Names the calling thread and pins it. Without the addon the name is written to /proc, which takes it as well, and pinning is
 * refused, for which there is no such way. @returns what could not be done, and why
 */
export function placeThread(place: ThreadPlace, bindings = bindingsFor(place)): PlaceRefusal[] {
  const { name, cpus } = place;
  const naming = bindings === undefined ? nameByFile(name) : refusal(bindings.setThreadName(name));
  const pinning =
    cpus === undefined
      ? undefined
      : bindings === undefined
        ? PIN_NEEDS_ADDON
        : refusal(bindings.pinThread(cpus));
  return [
    ...(naming === undefined ? [] : [{ operation: `name ${name}`, reason: naming }]),
    ...(pinning === undefined ? [] : [{ operation: `pin ${name}`, reason: pinning }]),
  ];
}

/** The CPUs that this process was started with, or undefined where the system does not tell. To be called before any pinning. */
export function startingCpus(bindings: NativeBindings | undefined): readonly number[] | undefined {
  if (bindings !== undefined) return bindings.threadCpus();
  try {
    const list = /^Cpus_allowed_list:\s*(\S+)$/m.exec(readFileSync("/proc/self/status", "latin1"))?.[1];
    return list === undefined ? undefined : parseCpuList(list, (problem) => new Error(problem));
  } catch {
    return undefined;
  }
}

function bindingsFor({ useNative }: ThreadPlace): NativeBindings | undefined {
  return useNative ? loadNativeBindings().bindings : undefined;
}

function refusal(error: number): string | undefined {
  return error === 0 ? undefined : getSystemErrorName(-error);
}

function nameByFile(name: string): string | undefined {
  try {
    writeFileSync("/proc/thread-self/comm", name);
    return undefined;
  } catch (thrown) {
    return thrown instanceof Error ? thrown.message : String(thrown);
  }
}
