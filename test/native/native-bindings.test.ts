import assert from "node:assert/strict";
import { closeSync, openSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { describe, it } from "node:test";
import { pathToFileURL } from "node:url";
import { Worker } from "node:worker_threads";
import { bindingsPath, INTERFACE_VERSION, loadNativeBindings } from "../../src/native/native-bindings.ts";
import { temporaryDirectory } from "../support/engine-process.ts";
import { builtAddon } from "../support/native-addon.ts";

const EBADF = 9;
const ENOTSOCK = 88;
/** Where an ELF file says for which processor it is, and a number that none has. */
const ELF_MACHINE_OFFSET = 18;
const ELF_MACHINE_UNKNOWN = 0xfffe;

/** The state of a file that cannot be used. */
function refusal(file: string): { reason: string; isFault: boolean } {
  const state = loadNativeBindings(file);
  assert.ok(state.bindings === undefined);
  assert.equal(state.path, file);
  return { reason: state.reason, isFault: state.isFault };
}

describe("loadNativeBindings", () => {
  it("loads what was built, whose calls return the system's error numbers", (t) => {
    const file = builtAddon(t);
    if (file === undefined) return;
    const { bindings } = loadNativeBindings(file);
    assert.ok(bindings !== undefined);
    const descriptor = openSync("/dev/null", "r");
    assert.equal(bindings.acknowledgeNow(descriptor), ENOTSOCK);
    closeSync(descriptor);
    for (const closed of [descriptor, -1, 2 ** 31 - 1]) assert.equal(bindings.acknowledgeNow(closed), EBADF);
    for (const wrong of [[], ["1"], [undefined], [{}]]) {
      assert.throws(() => bindings.acknowledgeNow(...(wrong as [number])), TypeError);
    }
  });

  it("loads it in every thread, also after one that had it has ended", async (t) => {
    const file = builtAddon(t);
    if (file === undefined) return;
    const loader = pathToFileURL(
      path.join(import.meta.dirname, "..", "..", "src", "native", "native-bindings.js"),
    );
    const code = `
      import { parentPort, workerData } from "node:worker_threads";
      const { loadNativeBindings } = await import(workerData.loader);
      parentPort.postMessage(loadNativeBindings(workerData.file).bindings.acknowledgeNow(-1));`;
    const source = new URL(`data:text/javascript,${encodeURIComponent(code)}`);
    for (let round = 0; round < 3; round++) {
      const worker = new Worker(source, { workerData: { loader: loader.href, file } });
      t.after(() => worker.terminate());
      const answer = await new Promise((resolve, reject) => {
        worker.once("error", reject);
        worker.once("message", resolve);
      });
      assert.equal(answer, EBADF);
      await worker.terminate();
    }
    assert.equal(loadNativeBindings(file).bindings?.acknowledgeNow(-1), EBADF);
  });

  it("says that there is no file, which is no fault", (t) => {
    const { reason, isFault } = refusal(path.join(temporaryDirectory(t), "none.node"));
    assert.deepEqual([reason, isFault], ["it was not built for this machine", false]);
  });

  it("says in one line why a file that is no addon cannot be loaded", (t) => {
    const directory = temporaryDirectory(t);
    for (const [name, content] of Object.entries({ empty: "", text: "no addon\n".repeat(100) })) {
      const file = path.join(directory, `${name}.node`);
      writeFileSync(file, content);
      const { reason, isFault } = refusal(file);
      assert.match(reason, /^it cannot be loaded: .+$/, name);
      assert.ok(isFault);
    }
  });

  it("survives an addon for another processor", (t) => {
    const built = builtAddon(t);
    if (built === undefined) return;
    const bytes = readFileSync(built);
    bytes.writeUInt16LE(ELF_MACHINE_UNKNOWN, ELF_MACHINE_OFFSET);
    const file = path.join(temporaryDirectory(t), "other.node");
    writeFileSync(file, bytes);
    const { reason, isFault } = refusal(file);
    assert.match(reason, /^it cannot be loaded: .+$/);
    assert.ok(isFault);
  });

  it("refuses the addon of another build, by its version or by what it lacks", (t) => {
    const directory = temporaryDirectory(t);
    const write = (name: string, exported: string): string => {
      const file = path.join(directory, name);
      writeFileSync(file, `module.exports = ${exported};`);
      return file;
    };
    const other = INTERFACE_VERSION + 1;
    assert.deepEqual(refusal(write("other.cjs", `{ interfaceVersion: ${other}, acknowledgeNow() {} }`)), {
      reason: `it is of another build: its interface has version ${other}, ${INTERFACE_VERSION} is needed`,
      isFault: true,
    });
    assert.match(refusal(write("empty.cjs", "{}")).reason, /version undefined/);
    assert.match(refusal(write("null.cjs", "null")).reason, /version undefined/);
    assert.deepEqual(refusal(write("less.cjs", `{ interfaceVersion: ${INTERFACE_VERSION} }`)), {
      reason: "it is of another build: it has no acknowledgeNow",
      isFault: true,
    });
  });
});

describe("bindingsPath", () => {
  it("names platform and processor, so that one package holds several", () => {
    assert.match(
      bindingsPath({ platform: "linux", arch: "arm64" }),
      /\/native-bindings\/build\/linux-arm64\.node$/,
    );
    assert.notEqual(bindingsPath(), bindingsPath({ platform: "linux", arch: "riscv64" }));
  });
});
