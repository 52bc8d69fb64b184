/** What `tools/tidy.ts` enforces, as data. To allow something new, change a row here and say why in the commit. */

/** Which folder of src/ may import which. Root files of src/ put everything together and may import all. */
export const folderImports: ReadonlyMap<string, readonly string[]> = new Map([
  ["core", []],
  ["config", ["core"]],
  ["native", ["core"]],
  ["wire", ["core"]],
  ["ring", ["core"]],
  ["log", ["core", "native"]],
  ["observe", ["core", "ring"]],
  ["net", ["core", "wire", "native", "observe"]],
  ["stream", ["core", "ring", "log", "native", "observe"]],
  ["export", ["core", "native", "log", "observe"]],
  ["engine", ["core", "wire", "stream", "export", "observe"]],
  ["client", ["core", "wire"]],
  ["cli", ["core", "client", "config"]],
]);

/** What a folder may import beyond the table, with the reason. */
export const importExceptions: readonly ImportException[] = [
  {
    from: "src/export/destinations/",
    to: "src/net/private-files.ts",
    reason: "headers and authorities of exports are files that are checked as those of the port are",
  },
  {
    from: "src/engine/",
    to: "src/net/request-handler.ts",
    reason: "the interface that net calls and the engine implements; types only",
  },
  ...["src/net/tls-files.ts", "src/net/private-files.ts"].map((to) => ({
    from: "src/export/destinations/iot-credentials.ts",
    to,
    reason: "a device certificate and its key are read with the checks that the port's own pass",
  })),
  {
    from: "src/cli/",
    to: "src/net/token-store.ts",
    reason: "commands find the token of the store by themselves",
  },
  {
    from: "src/cli/tokens.ts",
    to: "src/net/named-tokens.ts",
    reason: "tokens are made and revoked in the store's files, also while no engine runs",
  },
  {
    from: "src/cli/store/",
    to: "src/log/",
    reason: "these commands look into the files of a store themselves, without an engine",
  },
  ...["src/stream/", "src/export/cursor-file.ts", "src/net/store-lock.ts"].map((to) => ({
    from: "src/cli/store/",
    to,
    reason: "verify and repair know every file of a store, and whether an engine has it",
  })),
  ...["bench/live/", "bench/data-set-choice.ts", "bench/environment.ts", "bench/result-file.ts"].map(
    (to) => ({
      from: "src/cli/bench.ts",
      to,
      reason: "millrace bench is the scenarios of the bench suite, against an engine that runs already",
    }),
  ),
  {
    from: "src/cli/bench.ts",
    to: "bench/table-printer.ts",
    reason: "its results are printed as those of the bench suite",
  },
  ...["bench/place-checks.ts", "bench/bench-usage-error.ts"].map((to) => ({
    from: "src/cli/bench.ts",
    to,
    reason: "where its result goes is checked as the bench suite checks it",
  })),
  {
    from: "src/cli/doctor/",
    to: "src/log/",
    reason: "the doctor measures a directory by the calls that the engine makes",
  },
  {
    from: "src/cli/tune/",
    to: "src/log/",
    reason: "it measures the disk as the doctor does",
  },
  {
    from: "src/cli/doctor/",
    to: "src/net/store-lock.ts",
    reason: "the doctor tries the lock, and looks whether an engine has it",
  },
  ...["src/net/named-tokens.ts", "src/net/tls-files.ts"].map((to) => ({
    from: "src/cli/doctor/",
    to,
    reason: "the doctor reads certificate, key and tokens as the engine would",
  })),
  {
    from: "src/cli/doctor/",
    to: "src/stream/store-format.ts",
    reason: "the doctor says whether this version can use the store that is there",
  },
  {
    from: "src/cli/doctor/",
    to: "src/native/",
    reason: "the doctor says whether an engine would have the addon",
  },
];

/** What a command of an installed package loads: it may need no more packages than src/ may. */
export const shippedFolders: readonly string[] = ["src/", "bench/live/"];

/** Both ends are files, or folders when they end with a slash. */
export interface ImportException {
  readonly from: string;
  readonly to: string;
  readonly reason: string;
}

/** Something that only its owner may touch. `owners` are files, or folders when they end with a slash. */
export interface Ownership {
  readonly what: string;
  readonly owners: readonly string[];
  readonly hint: string;
}

/** Members of globals: `Date.now()`. Checked in src/ only; tests, benches and tools are free. */
export const ownedMembers: readonly Ownership[] = [
  { what: "Date.now", owners: ["src/core/clock.ts"], hint: "take a Clock (core/clock.ts) as an argument" },
  { what: "performance.now", owners: ["src/core/clock.ts"], hint: "take a Clock (core/clock.ts)" },
  { what: "Math.random", owners: ["src/core/random.ts"], hint: "take a Random (core/random.ts)" },
  { what: "process.env", owners: ["src/millrace.ts"], hint: "add a row to config/schema.ts" },
  { what: "process.exit", owners: ["src/millrace.ts", "src/cli/serve.ts"], hint: "throw, or return" },
  { what: "process.stdout", owners: ["src/millrace.ts", "src/cli/"], hint: "log, or return the text" },
  { what: "process.stderr", owners: ["src/millrace.ts", "src/cli/", "src/observe/"], hint: "use the logger" },
];

/** Modules with owners. `node:fs` stands for `node:fs/promises` too. */
export const ownedModules: readonly Ownership[] = [
  {
    what: "node:fs",
    owners: [
      "src/log/file-storage.ts",
      "src/net/private-files.ts",
      "src/net/process-descriptors.ts",
      // The files that clients name in S3 tasks, which are no files of the store.
      "src/export/destinations/s3-input-file.ts",
      // Directories of the operator's that files are exported to.
      "src/export/destinations/export-directory.ts",
      "src/export/destinations/part-state.ts",
      "src/export/destinations/file.ts",
      "src/config/settings-file.ts",
      // Asks the kernel, not a disk: tables of /proc.
      "src/export/destinations/kernel-send-queue.ts",
      "src/cli/",
      "src/version.ts",
      "src/crash-dumps.ts",
      // Asks the kernel about this process and thread: files of /proc.
      "src/native/thread-placement.ts",
    ],
    hint: "take a Storage (log/storage.ts) as an argument",
  },
  { what: "piscina", owners: ["src/export/"], hint: "the pool belongs to export/" },
  { what: "ws", owners: ["src/net/", "src/client/"], hint: "sockets belong to net/ and client/" },
  {
    what: "lz4-napi",
    owners: ["src/log/", "src/native/", "src/client/node-lz4.ts"],
    hint: "use the block codec of log/",
  },
  { what: "cborg", owners: ["src/wire/"], hint: "use the codecs of wire/" },
  { what: "pino", owners: ["src/observe/"], hint: "take a Logger (observe/)" },
  { what: "prom-client", owners: ["src/observe/"], hint: "metrics belong to observe/" },
  { what: "commander", owners: ["src/millrace.ts", "src/cli/"], hint: "commands belong to cli/" },
  { what: "smol-toml", owners: ["src/config/"], hint: "settings belong to config/" },
  { what: "valibot", owners: ["src/config/"], hint: "settings belong to config/" },
];

/** Names that say nothing about what a file holds. */
export const forbiddenNames: readonly string[] = [
  "util",
  "utils",
  "common",
  "helper",
  "helpers",
  "types",
  "misc",
];

/** The one module that gathers exports: what `millrace/client` means. */
export const barrels: readonly string[] = ["src/client/index.ts"];

export const FILE_LINES_MAX = 400;
export const TEST_FILE_LINES_MAX = 600;
export const WORKER_ENTRY_LINES_MAX = 60;

/** Files that name the forbidden words because they define or test the rules. */
export const ruleTexts: readonly string[] = ["tools/tidy-", "test/tools/"];
