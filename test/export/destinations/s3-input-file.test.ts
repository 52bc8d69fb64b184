import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { linkSync, mkdirSync, renameSync, symlinkSync, writeFileSync } from "node:fs";
import path from "node:path";
import { test, type TestContext } from "node:test";
import { pathToFileURL } from "node:url";
import { InputFile, InputReadError, openInputFile } from "../../../src/export/destinations/s3-input-file.ts";
import { temporaryDirectory } from "../../support/engine-process.ts";

function setUp(t: TestContext) {
  const base = temporaryDirectory(t);
  const [allowed, other, store] = ["allowed", "other", "store"].map((name) => path.join(base, name));
  for (const directory of [allowed!, other!, store!]) {
    mkdirSync(directory);
    writeFileSync(path.join(directory, "file"), directory);
  }
  const policy = { directories: [allowed!], storeDirectory: store! };
  const open = async (place: string, changes: Partial<typeof policy> = {}): Promise<InputFile | string> => {
    const url = place.startsWith("/") ? pathToFileURL(place).href : place;
    const file = await openInputFile(url, { ...policy, ...changes });
    if ("error" in file) return file.error;
    t.after(() => file.close().catch(() => undefined));
    return file;
  };
  return { allowed: allowed!, other: other!, store: store!, open };
}

async function refuses(opened: Promise<InputFile | string>, reason: RegExp): Promise<void> {
  const found = await opened;
  assert.ok(typeof found === "string", "it was opened");
  assert.match(found, reason);
}

async function contentOf(file: InputFile | string): Promise<string> {
  assert.ok(file instanceof InputFile, typeof file === "string" ? file : "");
  const pieces: Buffer[] = [];
  for await (const piece of file.stream({ offset: 0, sizeBytes: file.identity.sizeBytes })) {
    pieces.push(piece as Buffer);
  }
  return Buffer.concat(pieces).toString();
}

test("openInputFile reads files of the directories that are listed, and below", async (t) => {
  const { allowed, other, open } = setUp(t);
  assert.equal(await contentOf(await open(path.join(allowed, "file"))), allowed);
  mkdirSync(path.join(allowed, "a", "..b"), { recursive: true });
  writeFileSync(path.join(allowed, "a", "..b", "c d"), "deep");
  assert.equal(await contentOf(await open(path.join(allowed, "a", "..b", "c d"))), "deep");
  assert.equal(await contentOf(await open(`file:${path.join(allowed, "file")}`)), allowed);
  // A listed directory may be a link itself, and a link inside may lead to another place inside.
  symlinkSync(allowed, path.join(other, "link"));
  const linked = { directories: [path.join(other, "link")] };
  assert.equal(await contentOf(await open(path.join(allowed, "file"), linked)), allowed);
  symlinkSync("a/..b/c d", path.join(allowed, "inside"));
  assert.equal(await contentOf(await open(path.join(allowed, "inside"))), "deep");
});

test("openInputFile reads nothing where no directory is listed", async (t) => {
  const { allowed, open } = setUp(t);
  await refuses(
    open(path.join(allowed, "file"), { directories: [] }),
    /STREAM_MANAGER_READ_ONLY_DIRS names no directory/,
  );
});

test("openInputFile follows no link, and no dots, out of the directories", async (t) => {
  const { allowed, other, store, open } = setUp(t);
  const outside = /it is in none of the directories of STREAM_MANAGER_READ_ONLY_DIRS/;
  await refuses(open(path.join(other, "file")), outside);
  await refuses(open(`${pathToFileURL(allowed).href}/../other/file`), outside);
  await refuses(open(`${pathToFileURL(allowed).href}/%2e%2e/other/file`), outside);
  symlinkSync(path.join(other, "file"), path.join(allowed, "link"));
  await refuses(open(path.join(allowed, "link")), outside);
  symlinkSync(other, path.join(allowed, "directory"));
  await refuses(open(path.join(allowed, "directory", "file")), outside);
  symlinkSync(store, path.join(allowed, "store"));
  await refuses(open(path.join(allowed, "store", "file")), /it is in the store/);
  await refuses(open(path.join(store, "file"), { directories: ["/"] }), /it is in the store/);
  // A name that begins as a listed one does.
  mkdirSync(`${allowed}-not`);
  writeFileSync(`${allowed}-not/file`, "x");
  await refuses(open(`${allowed}-not/file`), outside);
});

test("openInputFile opens regular files only, and does not wait for a FIFO", async (t) => {
  const { allowed, open } = setUp(t);
  execFileSync("mkfifo", [path.join(allowed, "fifo")]);
  await refuses(open(path.join(allowed, "fifo")), /it is no regular file/);
  await refuses(open(allowed), /it is no regular file/);
  await refuses(open("/dev/zero", { directories: ["/dev"] }), /it is no regular file/);
  await refuses(open(path.join(allowed, "none")), /there is no such file/);
});

test("openInputFile takes file: URLs of this machine only", async (t) => {
  const { open } = setUp(t);
  const cases: [string, RegExp][] = [
    ["http://169.254.169.254/latest", /begins with http:, not with file:/],
    ["file://elsewhere/a", /names no local file/],
    ["no url", /is no file: URL/],
    ["file:///a%00b", /zero byte/],
    ["file:///a%2fb", /names no local file/],
    ["file:///a?b", /a query or a fragment/],
    ["file:///a#b", /a query or a fragment/],
  ];
  for (const [url, reason] of cases) await refuses(open(url), reason);
});

test("InputFile notices that its file was changed, replaced or cut", async (t) => {
  const { allowed, open } = setUp(t);
  const place = path.join(allowed, "file");
  const file = await open(place);
  assert.ok(file instanceof InputFile);
  assert.equal(await file.isUnchanged(), true);
  const { identity } = file;
  writeFileSync(`${place}.new`, "x".repeat(identity.sizeBytes));
  renameSync(`${place}.new`, place);
  const replaced = await open(place);
  assert.ok(replaced instanceof InputFile);
  assert.notEqual(replaced.identity.inode, identity.inode);
  writeFileSync(place, "short");
  assert.equal(await replaced.isUnchanged(), false);
  const { sizeBytes } = replaced.identity;
  await assert.rejects(replaced.md5({ offset: 0, sizeBytes }), (error) => {
    assert.ok(error instanceof InputReadError);
    assert.match(error.message, /ends at byte 5, and had \d+/);
    return true;
  });
  linkSync(place, path.join(allowed, "second name"));
  assert.equal(await contentOf(await open(path.join(allowed, "second name"))), "short");
});

test("InputFile that can no longer be looked at is a file that cannot be read", async (t) => {
  const { allowed, open } = setUp(t);
  const file = await open(path.join(allowed, "file"));
  assert.ok(file instanceof InputFile);
  await file.close();
  await assert.rejects(file.isUnchanged(), (error) => {
    assert.ok(error instanceof InputReadError);
    assert.match(error.message, /cannot read .*file: /);
    return true;
  });
});
