import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { lstatSync, mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { it } from "node:test";

import { systemClock } from "../../src/core/clock.ts";
import { systemRandom } from "../../src/core/random.ts";
import { fileStorage } from "../../src/log/file-storage.ts";
import { StreamLog } from "../../src/log/stream-log.ts";
import { blockOf, logOptions, smallPolicy } from "../support/log-fixture.ts";

const hasTool = spawnSync("lz4", ["--version"]).error === undefined;
const skip =
  !hasTool && process.env["CI"] !== "true" ? "the lz4 program is not installed (apt install lz4)" : false;

it("lz4 -dc of the segments on disk gives exactly the stored messages", { skip }, async (t) => {
  const root = mkdtempSync(path.join(tmpdir(), "millrace-log-"));
  t.after(() => rmSync(root, { recursive: true }));
  const directory = path.join(root, "stream");
  const options = { directory, clock: systemClock, random: systemRandom, policy: smallPolicy };
  const log = StreamLog.create(logOptions(fileStorage, options));
  const wanted: string[] = [];
  for (let block = 0; block < 30; block++) {
    const messages = Array.from(
      { length: 4 },
      (_, at) => `{"block":${block},"at":${at},"value":${block * at}}`,
    );
    log.append(blockOf(messages));
    wanted.push(...messages);
    await new Promise<void>((resolve, reject) => {
      log.sync((error) => (error === undefined ? resolve() : reject(error)));
    });
  }
  log.close();
  const names = readdirSync(directory)
    .filter((name) => name.endsWith(".lz4"))
    .sort();
  assert.ok(names.length > 1);
  const raw = Buffer.concat(names.map((name) => execFileSync("lz4", ["-dc", path.join(directory, name)])));
  const found: string[] = [];
  for (let at = 0; at < raw.length; at += 4 + raw.readUInt32LE(at)) {
    found.push(raw.toString("latin1", at + 4, at + 4 + raw.readUInt32LE(at)));
  }
  assert.deepEqual(found, wanted);
  assert.equal(lstatSync(directory).mode & 0o777, 0o700);
  assert.equal(lstatSync(path.join(directory, names[0]!)).mode & 0o777, 0o600);
});

it("fileStorage opens no symbolic link and no directory in place of a segment", (t) => {
  const root = mkdtempSync(path.join(tmpdir(), "millrace-log-"));
  t.after(() => rmSync(root, { recursive: true }));
  symlinkSync("/etc/hostname", path.join(root, "link"));
  mkdirSync(path.join(root, "directory"));
  assert.throws(() => fileStorage.open(path.join(root, "link"), "read"), { code: "ELOOP" });
  assert.throws(() => fileStorage.open(path.join(root, "link"), "append"), { code: "ELOOP" });
  assert.throws(() => fileStorage.open(path.join(root, "directory"), "read"), { code: "ELOOP" });
});
