import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { describe, it, type TestContext } from "node:test";
import { readSettingsFile } from "../../src/config/settings-file.ts";

function writeToml(t: TestContext, text: string): string {
  const directory = mkdtempSync(path.join(tmpdir(), "millrace-"));
  t.after(() => rmSync(directory, { recursive: true }));
  const file = path.join(directory, "edge.toml");
  writeFileSync(file, text);
  return file;
}

describe("readSettingsFile", () => {
  it("reads a TOML file as it stands", async (t) => {
    const file = writeToml(
      t,
      '# an edge\nport = 9000\nallowed_hosts = ["edge.local"]\nauthenticate = true\n',
    );
    const { path: source, values } = await readSettingsFile(file);
    assert.equal(source, file);
    assert.deepEqual({ ...values }, { port: 9000, allowed_hosts: ["edge.local"], authenticate: true });
  });

  it("names the file and the line of what is not TOML, on one line", async (t) => {
    const file = writeToml(t, "port = 1\nhost = \n");
    await assert.rejects(readSettingsFile(file), (error: Error & { code?: string }) => {
      assert.equal(error.code, "INVALID_SETTING");
      assert.ok(error.message.includes(`${file}, line 2: `), error.message);
      assert.doesNotMatch(error.message, /\n/);
      return true;
    });
  });

  it("names a file that is not there", async () => {
    await assert.rejects(readSettingsFile("/nowhere/edge.toml"), {
      code: "INVALID_SETTING",
      message: /^Cannot read the settings file \/nowhere\/edge\.toml: ENOENT/,
    });
  });
});
