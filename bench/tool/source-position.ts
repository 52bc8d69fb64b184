import { readFileSync } from "node:fs";
import { SourceMap, type SourceMapPayload } from "node:module";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { repositoryRoot } from "../environment.ts";
import type { CallFrame } from "./cpu-profile.ts";

/** Tells where a function was written, by the source maps beside the compiled files. */
export class SourcePositions {
  readonly #maps = new Map<string, SourceMap | undefined>();

  /** `src/log/lz4-frame.ts:41`, the module's name of Node's own, or nothing for what has no file. */
  where({ url, lineNumber, columnNumber }: CallFrame): string {
    if (url === "") return "";
    if (!url.startsWith("file:")) return `${url}:${lineNumber + 1}`;
    const file = fileURLToPath(url);
    const entry = this.#mapOf(file)?.findEntry(lineNumber, columnNumber);
    if (entry !== undefined && "originalSource" in entry) {
      const source = path.resolve(path.dirname(file), entry.originalSource);
      return `${path.relative(repositoryRoot, source)}:${entry.originalLine + 1}`;
    }
    return `${path.relative(repositoryRoot, file)}:${lineNumber + 1}`;
  }

  #mapOf(file: string): SourceMap | undefined {
    if (!this.#maps.has(file)) this.#maps.set(file, readMap(`${file}.map`));
    return this.#maps.get(file);
  }
}

/** Packages come without maps. */
function readMap(file: string): SourceMap | undefined {
  let text: string;
  try {
    text = readFileSync(file, "utf8");
  } catch {
    return undefined;
  }
  return new SourceMap(JSON.parse(text) as SourceMapPayload);
}
