import assert from "node:assert/strict";
import { test } from "node:test";
import { checkFileExports } from "../../src/core/exporter-options.ts";
import { checkExporterDirectories } from "../../src/engine/exporter-directory-check.ts";
import { ManualTimers } from "../support/manual-timers.ts";

const files = (...directories: string[]) => ({
  files: checkFileExports(
    directories.map((directory, index) => ({ identifier: `files ${index}`, directory })),
  ),
});

test("checkExporterDirectories looks at those that were not there before, and names the exporter it refuses", async () => {
  const engine = { timers: new ManualTimers(), fileDirectories: ["/out"] };
  const looked: string[] = [];
  const look = (directory: string): Promise<void> => {
    looked.push(directory);
    return directory === "/bad" ? Promise.reject(new Error("not there")) : Promise.resolve();
  };
  const options = { stream: "s", before: files("/out/a"), look };
  await checkExporterDirectories(engine, { ...options, next: files("/out/a", "/out/b") });
  assert.deepEqual(looked, ["/out/b"]);
  const refused = checkExporterDirectories(engine, { ...options, next: files("/out/a", "/bad") });
  await assert.rejects(refused, /Cannot accept exporter "files 1": not there/);
  await checkExporterDirectories(engine, { ...options, next: {} });
  assert.equal(engine.timers.pending.size, 0);
});

test("checkExporterDirectories waits for no disk that hangs", async () => {
  const engine = { timers: new ManualTimers(), fileDirectories: ["/out"] };
  const look = (): Promise<void> => new Promise(() => undefined);
  const checked = checkExporterDirectories(engine, { stream: "s", next: files("/out/a"), look });
  engine.timers.fire();
  await assert.rejects(checked, { code: "UNKNOWN_OUTCOME", message: /what stream "s" exports to/ });
});
