import assert from "node:assert/strict";
import { mkdirSync, readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { describe, it, type TestContext } from "node:test";
import { EngineProcess, temporaryDirectory } from "../support/engine-process.ts";

const timeout = 60_000;
const SECRET = "CANARY-aws-secret-access-key";

/** An engine whose owner asked Node.js for reports; what a report has of its environment stays in `reports`. */
async function startReporting(
  t: TestContext,
  env: Record<string, string> = {},
): Promise<{ engine: EngineProcess; reports: string }> {
  const reports = path.join(temporaryDirectory(t), "reports");
  mkdirSync(reports);
  const options = `--report-on-signal --report-uncaught-exception --report-on-fatalerror --report-directory=${reports}`;
  const engine = await EngineProcess.start(t, {
    env: { NODE_OPTIONS: options, AWS_SECRET_ACCESS_KEY: SECRET, ...env },
  });
  return { engine, reports };
}

function coredumpFilter({ serve }: EngineProcess): number {
  return parseInt(readFileSync(`/proc/${serve.child.pid!}/coredump_filter`, "latin1"), 16);
}

describe(
  "a crash",
  { skip: process.platform === "linux" ? false : "only Linux has core dumps as a file" },
  () => {
    it("leaves neither a report with the environment nor a core dump with memory", { timeout }, async (t) => {
      const { engine, reports } = await startReporting(t);
      assert.equal(coredumpFilter(engine), 0);
      engine.serve.child.kill("SIGUSR2");
      const { signal } = await engine.serve.finished();
      assert.equal(signal, "SIGUSR2");
      assert.deepEqual(readdirSync(reports), []);
    });

    it("leaves both where that is asked for", { timeout }, async (t) => {
      const { engine, reports } = await startReporting(t, { MILLRACE_CRASH_DUMPS: "true" });
      assert.notEqual(coredumpFilter(engine), 0);
      engine.serve.child.kill("SIGUSR2");
      while (readdirSync(reports).length === 0) await new Promise((resolve) => setTimeout(resolve, 5));
      assert.equal((await engine.stop()).code, 0);
      const [report] = readdirSync(reports);
      assert.match(readFileSync(path.join(reports, report!), "utf8"), new RegExp(SECRET));
    });
  },
);
