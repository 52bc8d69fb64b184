// Builds, then runs every compiled test, or those whose path contains one of the arguments: `npm test -- log/`. In their everyday form,
// or with MILLRACE_TEST_LONG=1 in the long one (test/support/test-length.ts).
import { spawnSync } from "node:child_process";
import { readdirSync } from "node:fs";
import os from "node:os";
import path from "node:path";

const root = path.join(import.meta.dirname, "..");
await import("./build.mjs");
const wanted = process.argv.slice(2);
const files = readdirSync(path.join(root, "dist", "test"), { recursive: true })
  .filter((file) => file.endsWith(".test.js"))
  .filter((file) => wanted.length === 0 || wanted.some((part) => file.includes(part)))
  .map((file) => path.join("dist", "test", file))
  .sort();
if (files.length === 0) {
  console.error(`no test file matches ${wanted.join(", ")}`);
  process.exit(1);
}
// A file that hangs is ended and fails, also where every test of it has ended and something of them has not; the others go on.
const FILE_TIMEOUT_MS = (process.env.MILLRACE_TEST_LONG === "1" ? 10 : 4) * 60_000;
// More files than cores: half of what they do is to wait, for a backoff, for a sync that is due, for a process.
const FILES_PER_CORE = 2;
const args = [
  "--enable-source-maps",
  "--test",
  `--test-concurrency=${FILES_PER_CORE * os.availableParallelism()}`,
  `--test-timeout=${FILE_TIMEOUT_MS}`,
  "--test-reporter=spec",
  ...files,
];
const { status } = spawnSync(process.execPath, args, { cwd: root, stdio: "inherit" });
process.exit(status ?? 1);
