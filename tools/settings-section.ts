// Keeps the README's tables of settings and profiles as src/config has them: `node dist/tools/settings-section.js --write`.
import { readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { profileMarkdown, settingsMarkdown } from "../src/config/describe-settings.ts";

/** What stands between which markers. */
const sections = [
  {
    begin: "<!-- settings: written by tools/settings-section.ts -->",
    end: "<!-- /settings -->",
    content: settingsMarkdown,
  },
  {
    begin: "<!-- profiles: written by tools/settings-section.ts -->",
    end: "<!-- /profiles -->",
    content: profileMarkdown,
  },
];

/** Replaces what stands between the markers. @throws {Error} when a marker is missing */
export function withSettings(readme: string): string {
  return sections.reduce((text, { begin, end, content }) => {
    const from = text.indexOf(begin);
    const to = text.indexOf(end);
    if (from < 0 || to < from) throw new Error(`the README lacks ${begin} … ${end}`);
    return `${text.slice(0, from + begin.length)}\n${content()}\n${text.slice(to)}`;
  }, readme);
}

/** The README of the project. Compiled to dist/tools/. */
export const readmePath = path.join(import.meta.dirname, "..", "..", "README.md");

if (process.argv[1] === import.meta.filename) {
  const readme = readFileSync(readmePath, "utf8");
  const wanted = withSettings(readme);
  if (process.argv[2] === "--write") {
    writeFileSync(readmePath, wanted);
  } else if (wanted !== readme) {
    console.error("README.md: a table of settings is out of date; add --write");
    process.exitCode = 1;
  }
}
