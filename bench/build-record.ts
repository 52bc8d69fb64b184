import { createHash } from "node:crypto";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";

const SOURCE_DIRECTORIES = ["src", "bench"] as const;

/** Of what sources a dist/ is. */
export interface BuildRecord {
  /** Null where the build had no git. */
  readonly commit: string | null;
  readonly source_sha256: string;
}

/** Left by the build in its dist/. */
export function writeBuildRecord(root: string, commit: string | null): void {
  const record: BuildRecord = { commit, source_sha256: hashSources(root) };
  writeFileSync(recordPath(root), `${JSON.stringify(record)}\n`);
}

/** `commit` of the checkout, and what is to be known of a dist/ that was not built from what lies there now. */
export function commitOfBuild(root: string, commit: string): string {
  let record: BuildRecord;
  try {
    record = JSON.parse(readFileSync(recordPath(root), "utf8")) as BuildRecord;
  } catch {
    return `${commit}, dist not known to be of it`;
  }
  if (record.source_sha256 === hashSources(root)) return commit;
  return `${commit}, dist built from other sources: ${record.commit ?? "unknown"}`;
}

function recordPath(root: string): string {
  return path.join(root, "dist", "build.json");
}

/** Of names and contents of what is compiled for the engine and the benches. */
function hashSources(root: string): string {
  const hash = createHash("sha256");
  for (const directory of SOURCE_DIRECTORIES) {
    const names = readdirSync(path.join(root, directory), { recursive: true, encoding: "utf8" });
    for (const name of names.filter((one) => one.endsWith(".ts")).sort()) {
      const text = readFileSync(path.join(root, directory, name));
      hash.update(`${directory}/${name} ${text.length}\n`).update(text);
    }
  }
  return hash.digest("hex");
}
