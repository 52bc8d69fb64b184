import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { describe, it } from "node:test";
import { readmePath, withSettings } from "../../tools/settings-section.ts";

describe("withSettings", () => {
  it("finds the README's table of settings as the schema has it", () => {
    const readme = readFileSync(readmePath, "utf8");
    const message = "run `node dist/tools/settings-section.js --write`";
    assert.equal(withSettings(readme), readme, message);
  });

  it("replaces what stands between the markers and nothing else", () => {
    const before = "# a\n<!-- settings: written by tools/settings-section.ts -->\nold\n";
    const after = [
      "<!-- /settings -->\nmore\n",
      "<!-- profiles: written by tools/settings-section.ts -->\nold\n<!-- /profiles -->\nend\n",
    ].join("");
    const text = withSettings(before + after);
    assert.ok(text.startsWith("# a\n") && text.endsWith("<!-- /profiles -->\nend\n"));
    assert.doesNotMatch(text, /old/);
    assert.match(text, /<!-- \/settings -->\nmore\n/);
    assert.match(text, /`MILLRACE_WORKERS` \| auto: half the cores, 1 to 4 \| 1 \|/);
    assert.match(
      text,
      /`STREAM_MANAGER_SERVER_PORT` `--port` `port` \| 8088 \| an integer from 0 to 65535 \|/,
    );
    assert.equal(withSettings(text), text);
  });

  it("refuses a text without the markers", () => {
    assert.throws(() => withSettings("# a\n"), /lacks/);
    const settings = "<!-- settings: written by tools/settings-section.ts -->\n<!-- /settings -->\n";
    assert.throws(() => withSettings(settings), /lacks <!-- profiles/);
  });
});
