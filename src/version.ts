import { readFileSync } from "node:fs";

/** The version in package.json. The compiled file is dist/src/version.js, in the repository and in the package alike. */
export function millraceVersion(): string {
  const manifest = new URL("../../package.json", import.meta.url);
  return (JSON.parse(readFileSync(manifest, "utf8")) as { version: string }).version;
}
