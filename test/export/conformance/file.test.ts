import { mkdirSync, readdirSync, readFileSync, renameSync } from "node:fs";
import path from "node:path";
import { constants, gunzipSync } from "node:zlib";
import { systemCode } from "../../../src/core/errors.ts";
import { temporaryDirectory } from "../../support/engine-process.ts";
import type { CleanUp } from "../../support/program.ts";
import { byLength } from "../../support/test-length.ts";
import { EXPORTER, type Counterpart } from "./destination-under-test.ts";
import { testDestination } from "./suite.ts";

const batchSize = byLength({ everyday: 10, long: 20 });
const PART = ".part";
const LOOKS_MAX = 10;
/** A file that grows may be read in the middle of a write. */
const whatIsThere = { finishFlush: constants.Z_SYNC_FLUSH };

interface Variant {
  readonly format: "jsonLines" | "raw";
  readonly gzip: boolean;
}

/** Payloads of all files, those that grow too, in the order of their names: one may get its name meanwhile. */
function payloadsIn(directory: string, variant: Variant): string[] {
  for (let tries = 1; ; tries += 1) {
    try {
      return payloadsNow(directory, variant);
    } catch (error) {
      if (systemCode(error) !== "ENOENT" || tries === LOOKS_MAX) throw error;
    }
  }
}

function payloadsNow(directory: string, { format, gzip }: Variant): string[] {
  const all = readdirSync(directory);
  // For a moment it has both of its names.
  const hasBoth = (name: string): boolean => name.endsWith(PART) && all.includes(name.slice(0, -PART.length));
  const names = all.filter((name) => !name.startsWith(".") && !hasBoth(name));
  return names.sort().flatMap((name) => {
    const bytes = readFileSync(path.join(directory, name));
    const lines = (gzip ? gunzipSync(bytes, whatIsThere) : bytes).toString().split("\n").slice(0, -1);
    if (format === "raw") return lines;
    return lines.map((line) =>
      Buffer.from((JSON.parse(line) as { payload: string }).payload, "base64").toString(),
    );
  });
}

function startCounterpart(t: CleanUp, variant: Variant): Counterpart {
  const root = temporaryDirectory(t);
  const directory = path.join(root, "out");
  const away = path.join(root, "away");
  mkdirSync(directory);
  return {
    port: undefined,
    env: () => ({ MILLRACE_EXPORT_FILE_DIRS: root }),
    exporter: () => ({
      options: {
        files: [
          {
            ...{ identifier: EXPORTER, directory, ...variant, rotateBytes: 4096, batchSize },
            // Completed by time too, in the midst of all.
            ...(variant.gzip && { rotateMillis: 1000 }),
          },
        ],
      },
    }),
    payload: (counter) => Buffer.from(`message ${counter} ${"x".repeat(counter % 100)}`),
    arrived: () => payloadsIn(directory, variant).map((payload) => Number(payload.split(" ")[1])),
    goDown: () => renameSync(directory, away),
    goUp: () => renameSync(away, directory),
  };
}

for (const variant of [
  { format: "jsonLines", gzip: false },
  { format: "raw", gzip: true },
] as const) {
  testDestination({
    name: `files, ${variant.format}${variant.gzip ? ", compressed" : ""}`,
    ...{ kind: "file", batchSize },
    start: (t) => Promise.resolve(startCounterpart(t, variant)),
  });
}
