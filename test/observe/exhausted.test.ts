import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { closeSync, openSync } from "node:fs";
import { test } from "node:test";
import { EventName } from "../../src/observe/events.ts";
import { createLogger } from "../../src/observe/logger.ts";
import { Metrics } from "../../src/observe/metrics.ts";
import { requireProgram } from "../support/require-program.ts";

/** More than a test has open, and soon taken. */
const FILES_FEW = 60;
const FILES_MANY = 1024;

function limitFiles(count: number): void {
  execFileSync("prlimit", ["--pid", String(process.pid), `--nofile=${count}:`]);
}

/** Runs `action` while nothing can be opened. */
async function withoutDescriptors(action: () => Promise<void>): Promise<void> {
  limitFiles(FILES_FEW);
  const taken: number[] = [];
  try {
    for (;;) taken.push(openSync("/dev/null", "r"));
  } catch (thrown) {
    assert.equal((thrown as NodeJS.ErrnoException).code, "EMFILE");
  }
  try {
    await action();
  } finally {
    taken.forEach(closeSync);
    limitFiles(FILES_MANY);
  }
}

test("what cannot be loaded for want of descriptors is done without, and loaded later", async (t) => {
  if (!requireProgram(t, "prlimit", "take descriptors from a process that runs")) return;
  const lines: Record<string, unknown>[] = [];
  const write = (line: string): void => void lines.push(JSON.parse(line) as Record<string, unknown>);
  const logger = createLogger({ level: "INFO", destination: { write } });
  const metrics = new Metrics();
  await withoutDescriptors(async () => {
    logger.error(EventName.StoreOpened, { stream: "a" }, new Error("why"));
    await assert.rejects(metrics.render());
  });
  logger.error(EventName.StoreOpened, { stream: "a" }, new Error("why"));
  assert.equal(lines.length, 2);
  const [alone, usual] = lines.map(({ time, ...line }) => {
    assert.match(String(time), /^\d{4}-\d\d-\d\dT[\d:.]+Z$/);
    return line;
  });
  assert.deepEqual(alone, usual);
  assert.match((await metrics.render()).contentType, /text\/plain/);
});
