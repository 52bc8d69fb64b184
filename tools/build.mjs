// Compiles the whole tree into a clean dist/, so that a deleted source can leave no stale test behind; then the native addon, if it can.
import { execFileSync } from "node:child_process";
import { chmodSync, existsSync, rmSync } from "node:fs";
import path from "node:path";
import { buildNative } from "./build-native.mjs";

const root = path.join(import.meta.dirname, "..");
rmSync(path.join(root, "dist"), { recursive: true, force: true });
const tsc = path.join(root, "node_modules", "typescript", "bin", "tsc");
try {
  execFileSync(process.execPath, [tsc, "-p", root], { stdio: "inherit" });
} catch (error) {
  process.exit(error.status ?? 1);
}
const bin = path.join(root, "dist", "src", "millrace.js");
if (existsSync(bin)) chmodSync(bin, 0o755);
// Results of benches tell whether what they measured is of the sources that lie beside it.
const { writeBuildRecord } = await import("../dist/bench/build-record.js");
const { readCommit } = await import("../dist/bench/environment.js");
writeBuildRecord(root, readCommit());
buildNative();
