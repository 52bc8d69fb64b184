// Keeps the README's table of settings as the schema has it: `node dist/tools/settings-section.js --write`.
import { readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { settingsMarkdown } from "../src/config/describe-settings.ts";

const BEGIN = "<!-- settings: written by tools/settings-section.ts -->";
const END = "<!-- /settings -->";

/** Replaces what stands between the markers. @throws {Error} when a marker is missing */
export function withSettings(readme: string): string {
  const begin = readme.indexOf(BEGIN);
  const end = readme.indexOf(END);
  if (begin < 0 || end < begin) throw new Error(`the README lacks ${BEGIN} … ${END}`);
  return `${readme.slice(0, begin + BEGIN.length)}\n${settingsMarkdown()}\n${readme.slice(end)}`;
}

/** The README of the project. Compiled to dist/tools/. */
export const readmePath = path.join(import.meta.dirname, "..", "..", "README.md");

if (process.argv[1] === import.meta.filename) {
  const readme = readFileSync(readmePath, "utf8");
  const wanted = withSettings(readme);
  if (process.argv[2] === "--write") {
    writeFileSync(readmePath, wanted);
  } else if (wanted !== readme) {
    console.error("README.md: the table of settings is out of date; add --write");
    process.exitCode = 1;
  }
}
