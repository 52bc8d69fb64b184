import assert from "node:assert/strict";
import * as toml from "smol-toml";
import { MillraceError } from "../../src/core/errors.ts";
import { loadSettings } from "../../src/config/load-settings.ts";
import { settingRows } from "../../src/config/schema.ts";
import { parseSettings } from "../../src/config/settings-file.ts";
import { type FuzzTarget, plainAllocation } from "./fuzz-target.ts";

const machine = { homeDirectory: "/home/someone", cores: 2, memoryBytes: 2 ** 30 };
const SETTINGS_SOURCES = [
  "src/config/load-settings.js",
  "src/config/setting-kinds.js",
  "src/config/schema.js",
];
const MESSAGE_LENGTH_MAX = 4000;

/** Runs `load`; a refusal is one line that is no longer than a screen, whatever the value was. */
function refusesInOneLine(load: () => void): void {
  try {
    load();
  } catch (thrown) {
    if (!(thrown instanceof MillraceError) || thrown.code !== "INVALID_SETTING") throw thrown;
    assert.ok(!thrown.message.includes("\n"), "one line");
    assert.ok(thrown.message.length <= MESSAGE_LENGTH_MAX, `${thrown.message.length} characters`);
  }
}

/** A settings file of any content. */
const fileTarget: FuzzTarget = {
  name: "settings-file",
  sources: [...SETTINGS_SOURCES, "src/config/settings-file.js"],
  inputBytesMax: 400,
  inputsPerCount: 32,
  allocatedBytesMax: plainAllocation,
  seeds: () =>
    [
      'store_directory = "/var/lib/millrace"\nport = 9000\nauthenticate = false\n',
      'allowed_origins = ["https://panel.local", "http://localhost:3000"]\n# a comment\nworkers = "auto"\n',
      "sync_interval_ms = 0x10\nsync_bytes = 1_000_000\nlog_level = 'debug'\nring_bytes = 2e6\n",
      "[table]\nport = 1\n[[list]]\nport = { a = 1, b = 1979-05-27T07:32:00Z }\n",
      'host = """\n::1"""\nport = inf\nworkers = nan\n"quoted key" = true\na.b.c = 1\n',
    ].map((text) => Buffer.from(text)),
  run(input) {
    refusesInOneLine(() => {
      const file = parseSettings(toml, { path: "settings.toml", text: Buffer.from(input).toString("utf8") });
      loadSettings({ ...machine, env: {}, file });
    });
  },
};

/** Variables of any content: lines of `NAME=value`. */
const environmentTarget: FuzzTarget = {
  name: "settings-environment",
  sources: SETTINGS_SOURCES,
  inputBytesMax: 300,
  inputsPerCount: 32,
  allocatedBytesMax: plainAllocation,
  seeds: () =>
    [
      ...Object.values(settingRows).map(({ env }) => `${env}=1\nMILLRACE_HOST=::1`),
      "STREAM_MANAGER_SERVER_PORT=65535",
    ].map((text) => Buffer.from(text)),
  run(input) {
    const env: Record<string, string> = {};
    for (const line of Buffer.from(input).toString("utf8").split("\n")) {
      const at = line.indexOf("=");
      if (at > 0) env[line.slice(0, at)] = line.slice(at + 1);
    }
    refusesInOneLine(() => {
      const { settings, notices } = loadSettings({ ...machine, env });
      assert.ok(Object.isFrozen(settings));
      assert.ok(Number.isInteger(settings.port) && settings.port >= 0 && settings.port <= 65_535);
      assert.ok(settings.storeDirectory.startsWith("/") && !settings.storeDirectory.includes("\0"));
      for (const notice of notices) assert.ok(!notice.includes("\n"), "one line");
    });
  },
};

export const settingsTargets: readonly FuzzTarget[] = [fileTarget, environmentTarget];
