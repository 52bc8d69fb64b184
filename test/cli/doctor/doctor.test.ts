import assert from "node:assert/strict";
import { chmodSync, existsSync, mkdirSync, readdirSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import path from "node:path";
import { describe, it } from "node:test";
import { bindingsPath } from "../../../src/native/native-bindings.ts";
import { EngineProcess, temporaryDirectory } from "../../support/engine-process.ts";
import { Program, runProgram } from "../../support/program.ts";

const program = path.join(import.meta.dirname, "..", "..", "..", "src", "millrace.js");

interface Diagnosis {
  readonly isFit: boolean;
  readonly remarks: readonly { readonly kind: string; readonly text: string }[];
  readonly engine: string;
  readonly streamCount: number;
  readonly state: string;
  readonly nativeBindings: { readonly areUsed: boolean };
  readonly latenciesMs: Record<string, { readonly count: number; readonly p50: number }>;
}

const quick = ["doctor", "--seconds", "1"];
const env = { LOG_LEVEL: "warn" };

// Each of them waits for a second of measuring.
describe("millrace doctor", { concurrency: true }, () => {
  it("measures the store of an engine that runs, and leaves nothing behind", async (t) => {
    const engine = await EngineProcess.start(t);
    await engine.run(["streams", "create", "one"]);
    const store = path.join(engine.storeDirectory, "store");
    mkdirSync(path.join(store, "doctor-0123456789abcdef.tmp"));
    // The engine makes its ballast meanwhile.
    const names = (): string[] => readdirSync(store).filter((name) => !name.startsWith("ballast"));
    const before = names().filter((name) => !name.startsWith("doctor-"));
    const { code, stdout, stderr } = await engine.run([...quick, "--json"]);
    const diagnosis = JSON.parse(stdout) as Diagnosis;
    assert.deepEqual([code, stderr], [0, ""]);
    assert.deepEqual([diagnosis.isFit, diagnosis.engine, diagnosis.streamCount], [true, "runs", 1]);
    assert.equal(diagnosis.nativeBindings.areUsed, existsSync(bindingsPath()));
    for (const { count, p50 } of Object.values(diagnosis.latenciesMs)) assert.ok(count >= 3 && p50 > 0);
    assert.deepEqual(names(), before);
  });

  it("measures beside a store that is not there, and does not make it", async (t) => {
    const directory = temporaryDirectory(t);
    const store = path.join(directory, "a", "b");
    const { code, stdout } = await runProgram(t, [program, ...quick, "--store-directory", store], {
      env: { ...env, MILLRACE_NATIVE_BINDINGS: "false" },
    });
    assert.equal(code, 0);
    assert.match(stdout, /^addon {8}not in use: turned off by a setting$/m);
    assert.match(stdout, /^directory {4}\S+\/a\/b, which is not there yet$/m);
    assert.match(stdout, /^append 4 KiB, sync +\d+ +[\d.]+ m?s/m);
    assert.match(stdout, /^awaited appends {2}[\d,]+ a second = 1 s \/ p50\(4 KiB\)$/m);
    assert.match(stdout, /^verdict: fit/m);
    assert.deepEqual(readdirSync(directory), []);
  });

  it("removes what it made when it is interrupted", async (t) => {
    const directory = temporaryDirectory(t);
    const doctor = new Program(t, [program, "doctor", "--seconds", "60", "--store-directory", directory], {
      env,
    });
    while (readdirSync(directory).length === 0) await new Promise((resolve) => setTimeout(resolve, 5));
    assert.match(readdirSync(directory)[0]!, /^doctor-[0-9a-f]{16}\.tmp$/);
    assert.equal(statSync(path.join(directory, readdirSync(directory)[0]!)).mode & 0o777, 0o700);
    doctor.child.kill("SIGINT");
    const { code, stdout } = await doctor.finished();
    assert.deepEqual([code, stdout], [130, ""]);
    assert.deepEqual(readdirSync(directory), []);
  });

  it("fails with 1 and a line of reason for what is not fit", async (t) => {
    const directory = temporaryDirectory(t);
    writeFileSync(path.join(directory, "file"), "");
    mkdirSync(path.join(directory, "open"));
    chmodSync(path.join(directory, "open"), 0o755);
    symlinkSync("open", path.join(directory, "link"));
    mkdirSync(path.join(directory, "later"), { mode: 0o700 });
    const later = `{"format":999,"writtenBy":"9.0.0"}\n`;
    writeFileSync(path.join(directory, "later", "format"), later, { mode: 0o600 });
    const touchedMs = statSync(path.join(directory, "later")).mtimeMs;
    const cases = {
      later: /it has format 999, written by Millrace 9\.0\.0/,
      file: /no directory/,
      link: /symbolic link/,
      open: /mode 755 lets others in: chmod 700/,
    };
    const runs = Object.entries(cases).map(async ([name, reason]) => {
      const store = path.join(directory, name);
      const run = await runProgram(t, [program, ...quick, "--store-directory", store], { env });
      assert.equal(run.code, 1, name);
      assert.match(run.stderr, /^millrace: [^\n]* is not fit: [^\n]*\n$/);
      assert.match(run.stderr, reason);
      assert.match(run.stdout, /^verdict: NOT FIT$/m);
    });
    await Promise.all(runs);
    assert.equal(statSync(path.join(directory, "later")).mtimeMs, touchedMs);
    assert.equal((await runProgram(t, [program, "doctor", "--seconds", "0"], { env })).code, 2);
  });
});
