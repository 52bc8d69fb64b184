import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { describe, it, type TestContext } from "node:test";
import { Worker } from "node:worker_threads";
import { THREAD_CPU_MAX } from "../../src/core/thread-limits.ts";
import { formatCpuList } from "../../src/core/thread-cpus.ts";
import { loadNativeBindings, type NativeBindings } from "../../src/native/native-bindings.ts";
import {
  PIN_NEEDS_ADDON,
  placeThread,
  startingCpus,
  type ThreadPlace,
} from "../../src/native/thread-placement.ts";
import { builtAddon } from "../support/native-addon.ts";

const EINVAL = 22;
const ERANGE = 34;

function bindingsOf(t: TestContext): NativeBindings | undefined {
  const file = builtAddon(t);
  return file === undefined ? undefined : loadNativeBindings(file).bindings;
}

const allowedList = (): string =>
  /^Cpus_allowed_list:\s*(\S+)$/m.exec(readFileSync("/proc/thread-self/status", "latin1"))![1]!;
const kernelName = (): string => readFileSync("/proc/thread-self/comm", "utf8").trimEnd();

describe("the addon's thread calls", () => {
  it("name the calling thread in at most 15 bytes", (t) => {
    const bindings = bindingsOf(t);
    if (bindings === undefined) return;
    const before = bindings.threadName();
    t.after(() => bindings.setThreadName(before));
    assert.equal(bindings.setThreadName("mr-fifteen-byte"), 0);
    assert.deepEqual([bindings.threadName(), kernelName()], ["mr-fifteen-byte", "mr-fifteen-byte"]);
    for (const long of ["mr-sixteen-bytes", "ä".repeat(8), "x".repeat(1000)])
      assert.equal(bindings.setThreadName(long), ERANGE, long);
    assert.equal(bindings.setThreadName("a\0b"), EINVAL);
    assert.equal(bindings.threadName(), "mr-fifteen-byte");
    for (const wrong of [[], [1], [undefined]])
      assert.throws(() => bindings.setThreadName(...(wrong as unknown as [string])), TypeError);
  });

  it("pin the calling thread, and tell where it is pinned to", (t) => {
    const bindings = bindingsOf(t);
    if (bindings === undefined) return;
    const before = bindings.threadCpus();
    assert.ok(before.length > 0);
    assert.equal(formatCpuList(before), allowedList());
    t.after(() => bindings.pinThread(before));
    const last = before.at(-1)!;
    assert.equal(bindings.pinThread([last]), 0);
    assert.deepEqual([bindings.threadCpus(), allowedList()], [[last], String(last)]);
    assert.equal(bindings.pinThread([]), EINVAL);
    assert.equal(bindings.pinThread([THREAD_CPU_MAX]), EINVAL);
    const wrongs = [[], [1], [["0"]], [[0.5]], [[-1]], [[THREAD_CPU_MAX + 1]], [[NaN]], [[2 ** 32]]];
    for (const wrong of wrongs)
      assert.throws(() => bindings.pinThread(...(wrong as unknown as [number[]])), TypeError);
    assert.deepEqual(bindings.threadCpus(), [last]);
    assert.equal(bindings.pinThread(before), 0);
    assert.deepEqual(bindings.threadCpus(), before);
  });
});

describe("placeThread", () => {
  it("says what the kernel refuses", () => {
    const refusing = { setThreadName: () => ERANGE, pinThread: () => EINVAL } as unknown as NativeBindings;
    assert.deepEqual(placeThread({ name: "mr-x", cpus: [1], useNative: true }, refusing), [
      { operation: "name mr-x", reason: "ERANGE" },
      { operation: "pin mr-x", reason: "EINVAL" },
    ]);
  });

  it("names a thread without the addon too, and says that it cannot pin it", async () => {
    const module = new URL("../../src/native/thread-placement.js", import.meta.url).href;
    const code = `
      import { readFileSync } from "node:fs";
      import { parentPort, workerData } from "node:worker_threads";
      const { placeThread } = await import(workerData.module);
      const refusals = placeThread(workerData.place);
      parentPort.postMessage({ refusals, name: readFileSync("/proc/thread-self/comm", "utf8").trimEnd() });`;
    const place: ThreadPlace = { name: "mr-no-addon", cpus: [0], useNative: false };
    const worker = new Worker(new URL(`data:text/javascript,${encodeURIComponent(code)}`), {
      workerData: { module, place },
    });
    const answer = await new Promise((resolve, reject) => {
      worker.once("error", reject);
      worker.once("message", resolve);
    });
    const refusals = [{ operation: "pin mr-no-addon", reason: PIN_NEEDS_ADDON }];
    assert.deepEqual(answer, { refusals, name: "mr-no-addon" });
  });
});

describe("startingCpus", () => {
  it("is the same with the addon and without", (t) => {
    const bindings = bindingsOf(t);
    if (bindings === undefined) return;
    assert.deepEqual(startingCpus(undefined), startingCpus(bindings));
  });
});
