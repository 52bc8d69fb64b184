import assert from "node:assert/strict";
import { cpSync, mkdirSync, readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { describe, it, type TestContext } from "node:test";
import { setTimeout as after } from "node:timers/promises";
import { MillraceClient, StrategyOnFull } from "../../src/client/index.ts";
import { formatCpuList } from "../../src/core/thread-cpus.ts";
import { PIN_NEEDS_ADDON, startingCpus } from "../../src/native/thread-placement.ts";
import { EngineProcess, temporaryDirectory } from "../support/engine-process.ts";
import { builtAddon, installation } from "../support/native-addon.ts";

const timeout = 30_000;

/** The CPUs of each thread of the engine by its name, as the kernel has them. Those of Node.js itself are called as it likes. */
function threadsOf(engine: EngineProcess): Map<string, string[]> {
  const tasks = `/proc/${String(engine.serve.child.pid)}/task`;
  const threads = new Map<string, string[]>();
  for (const id of readdirSync(tasks)) {
    const name = readFileSync(`${tasks}/${id}/comm`, "utf8").trimEnd();
    const status = readFileSync(`${tasks}/${id}/status`, "utf8");
    const cpus = /^Cpus_allowed_list:\s*(\S+)$/m.exec(status)![1]!;
    threads.set(name, [...(threads.get(name) ?? []), cpus]);
  }
  return threads;
}

/** Two streams, one on each worker, and an export that has run. */
async function useAllThreads(t: TestContext, engine: EngineProcess, spool: string): Promise<void> {
  const url = `ws://127.0.0.1:${engine.port}`;
  const client = await MillraceClient.connect({ url, ...(engine.token && { token: engine.token }) });
  t.after(() => client.close());
  for (const name of ["a", "b"])
    await client.createMessageStream({ name, strategyOnFull: StrategyOnFull.RejectNewData });
  await client.configureStream("a", { files: [{ identifier: "spool", directory: spool }] });
  await client.appendMessage("a", Buffer.from("one"));
  while (readdirSync(spool).length === 0) await after(20);
}

async function startWith(t: TestContext, options: { addon: string | undefined; cpus?: string }) {
  const { addon, cpus } = options;
  const spool = path.join(temporaryDirectory(t), "spool");
  mkdirSync(spool);
  const program = installation(t, (place) => addon !== undefined && cpSync(addon, place));
  const env = {
    LOG_LEVEL: "info",
    MILLRACE_WORKERS: "2",
    MILLRACE_EXPORT_FILE_DIRS: spool,
    ...(cpus !== undefined && { MILLRACE_THREAD_CPUS: cpus }),
  };
  const engine = await EngineProcess.start(t, { program, env });
  await useAllThreads(t, engine, spool);
  return engine;
}

describe("the threads of an engine", () => {
  it(
    "have names, and run on the CPUs that a setting gives them, the others on all",
    { timeout },
    async (t) => {
      const addon = builtAddon(t);
      if (addon === undefined) return;
      const available = startingCpus(undefined)!;
      const [first, last, everywhere] = [available[0]!, available.at(-1)!, formatCpuList(available)];
      for (const given of ["stream", "export"] as const) {
        const engine = await startWith(t, { addon, cpus: `main=${first};${given}=${last}` });
        const threads = threadsOf(engine);
        const [stream, exporting] = given === "stream" ? [`${last}`, everywhere] : [everywhere, `${last}`];
        assert.deepEqual(threads.get("mr-main"), [String(first)]);
        assert.deepEqual([threads.get("mr-stream-0"), threads.get("mr-stream-1")], [[stream], [stream]]);
        assert.deepEqual(threads.get("mr-export-0"), [exporting]);
        const others = [...threads].filter(([name]) => !name.startsWith("mr-"));
        assert.ok(others.length > 0);
        for (const [name, cpus] of others)
          assert.ok(
            cpus.every((list) => list === everywhere),
            name,
          );
        assert.doesNotMatch((await engine.stop()).stderr, /"native\.refused"|"threads\.unpinned"/);
      }
    },
  );

  it("have names without the addon too, and stay unpinned, which the log says", { timeout }, async (t) => {
    const available = startingCpus(undefined)!;
    const engine = await startWith(t, { addon: undefined, cpus: `main=${available[0]!}` });
    const threads = threadsOf(engine);
    for (const name of ["mr-main", "mr-stream-0", "mr-export-0"])
      assert.deepEqual(threads.get(name), [formatCpuList(available)], name);
    const line = (await engine.stop()).stderr.split("\n").find((one) => one.includes("threads.unpinned"));
    const { level, setting, reason } = JSON.parse(line!) as Record<string, unknown>;
    assert.deepEqual([level, setting, reason], ["WARN", "MILLRACE_THREAD_CPUS", PIN_NEEDS_ADDON]);
  });

  it("do not start on CPUs that are not there", { timeout }, async (t) => {
    const storeDirectory = temporaryDirectory(t);
    const env = { MILLRACE_THREAD_CPUS: "main=0;stream=8000" };
    const { code, stderr } = await EngineProcess.spawn(t, { storeDirectory, env }).finished();
    assert.equal(code, 1);
    assert.match(
      stderr,
      /^millrace: MILLRACE_THREAD_CPUS: "stream=8000" names CPU 8000, and this process may use \S+\n$/m,
    );
  });
});
