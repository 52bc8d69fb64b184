// Builds the addon of native-bindings/ where there is a C compiler. Millrace never needs it, so nothing here ends in a failure: one
// line says what became of it. The file of this machine's architecture is tried out before it takes its place; files for others are
// made beside it where Debian's cross compilers are installed, so that one package serves them all.
// `node tools/build-native.mjs [directory]` also works in an installed package.
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, realpathSync, renameSync, rmSync } from "node:fs";
import path from "node:path";

const root = path.join(import.meta.dirname, "..");
const sourceDirectory = path.join(root, "native-bindings");
const FLAGS = ["-std=gnu11", "-O2", "-Wall", "-Wextra", "-fPIC", "-shared", "-fvisibility=hidden", "-s"];
const LINKER_FLAGS = ["-Wl,-z,relro", "-Wl,-z,now"];
const TIMEOUT_MS = 60_000;
const ERROR_CHARACTERS_MAX = 500;

const crossCompilers = {
  x64: "x86_64-linux-gnu-gcc",
  arm64: "aarch64-linux-gnu-gcc",
  arm: "arm-linux-gnueabihf-gcc",
};

/** Node-API's own; what a distribution of Node.js has beside its binary; Debian's libnode-dev. */
const headerDirectories = [
  path.join(root, "node_modules", "node-api-headers", "include"),
  path.join(path.dirname(process.execPath), "..", "include", "node"),
  "/usr/include/node",
];

// On stderr, as stdout may be somebody's JSON: `npm pack --json` runs this too.
const say = (text) => console.error(`native bindings: ${text}`);

/** Builds into `directory`, whose path is absolute. Never throws. */
export function buildNative(directory = path.join(sourceDirectory, "build")) {
  if (process.platform !== "linux") {
    say(`not built: they are for Linux, and this is ${process.platform}`);
    return;
  }
  const headers = headerDirectories.find((at) => existsSync(path.join(at, "node_api.h")));
  if (headers === undefined) {
    say("not built: there is no node_api.h, which the npm package node-api-headers has");
    return;
  }
  try {
    mkdirSync(directory, { recursive: true });
    buildForThisMachine({ directory, headers });
    for (const [arch, compiler] of Object.entries(crossCompilers)) {
      if (arch !== process.arch) buildForOther(arch, compiler, { directory, headers });
    }
  } catch (error) {
    say(`not built: ${error.message}`);
  }
}

function buildForThisMachine({ directory, headers }) {
  const own = process.env.CC?.trim();
  const compilers = own ? [own] : ["cc", "gcc", "clang"];
  for (const compiler of compilers) {
    const built = compile(compiler, { arch: process.arch, directory, headers });
    if (built === undefined) continue;
    if (built.failure === undefined) built.failure = tryOut(built.temporary);
    place(built, compiler);
    return;
  }
  say(`not built: there is no C compiler (${compilers.join(", ")}), and none is needed`);
}

function buildForOther(arch, compiler, { directory, headers }) {
  const built = compile(compiler, { arch, directory, headers });
  if (built !== undefined) place(built, compiler);
}

/** Undefined when there is no such program. */
function compile(compiler, { arch, directory, headers }) {
  const target = path.join(directory, `linux-${arch}.node`);
  // With a suffix that `require` takes for an addon.
  const temporary = path.join(directory, `linux-${arch}.${process.pid}.tmp.node`);
  const sources = readdirSync(sourceDirectory).filter((name) => name.endsWith(".c"));
  const [program, ...more] = compiler.split(/\s+/);
  const { error, status, signal, stderr } = spawnSync(
    program,
    [...more, ...FLAGS, "-I", headers, "-o", temporary, ...sources, ...LINKER_FLAGS],
    { cwd: sourceDirectory, encoding: "utf8", timeout: TIMEOUT_MS, stdio: ["ignore", "ignore", "pipe"] },
  );
  if (error?.code === "ENOENT") return undefined;
  let failure;
  if (error !== undefined) failure = error.message;
  else if (status !== 0) failure = stderr.trim() || `it ended with ${status ?? signal}`;
  else if (!existsSync(temporary)) failure = "it made no file";
  return { target, temporary, failure };
}

/** Loads the file in a process of its own: what a compiler for something else made may take the process with it. */
function tryOut(file) {
  const script = 'if (typeof require(process.argv[1]).interfaceVersion !== "number") process.exit(3)';
  const { error, status, signal, stderr } = spawnSync(process.execPath, ["-e", script, file], {
    encoding: "utf8",
    timeout: TIMEOUT_MS,
    stdio: ["ignore", "ignore", "pipe"],
  });
  if (error === undefined && status === 0) return undefined;
  const reason = /^Error: (.*)$/m.exec(stderr ?? "")?.[1];
  return `what it made cannot be loaded: ${reason ?? error?.message ?? `ended with ${status ?? signal}`}`;
}

/** A file that is there is a whole one. */
function place({ target, temporary, failure }, compiler) {
  const name = path.relative(root, target).startsWith("..") ? target : path.relative(root, target);
  if (failure === undefined) {
    renameSync(temporary, target);
    say(`built ${name} with ${compiler}`);
    return;
  }
  rmSync(temporary, { force: true });
  const reason = failure.slice(0, ERROR_CHARACTERS_MAX).replace(/\s+/g, " ");
  say(`warning: ${name} was not built, and Millrace works without it: ${compiler}: ${reason}`);
}

if (realpathSync(process.argv[1]) === import.meta.filename) {
  buildNative(process.argv[2] === undefined ? undefined : path.resolve(process.argv[2]));
}
