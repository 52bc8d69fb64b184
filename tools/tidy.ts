// Checks what neither compiler nor linter knows: which folder may import which, who owns time, randomness and files.
import { readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { checkTree } from "./tidy-rules.ts";

// Compiled to dist/tools/, two levels below the project.
const root = path.join(import.meta.dirname, "..", "..");

function readTree(): Map<string, string> {
  const tree = new Map([["package.json", readFileSync(path.join(root, "package.json"), "utf8")]]);
  for (const folder of ["src", "bench", "test", "tools"]) {
    for (const entry of listFiles(folder)) tree.set(entry, readFileSync(path.join(root, entry), "utf8"));
  }
  return tree;
}

function listFiles(folder: string): string[] {
  let names: string[];
  try {
    names = readdirSync(path.join(root, folder), { recursive: true, encoding: "utf8" });
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") return [];
    throw error;
  }
  return names
    .filter((name) => name.endsWith(".ts"))
    .map((name) => `${folder}/${name.split(path.sep).join("/")}`)
    .sort();
}

const tree = readTree();
const findings = checkTree(tree);
for (const { file, line, rule, message } of findings) console.error(`${file}:${line} [${rule}] ${message}`);
if (findings.length > 0) {
  console.error(`tidy: ${findings.length} findings in ${tree.size} files`);
  process.exitCode = 1;
}
