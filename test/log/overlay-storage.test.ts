import assert from "node:assert/strict";
import { cpSync, mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import path from "node:path";
import { describe, it, type TestContext } from "node:test";

import { systemCode } from "../../src/core/errors.ts";
import { fileStorage } from "../../src/log/file-storage.ts";
import { OverlayStorage } from "../../src/log/overlay-storage.ts";
import type { Storage } from "../../src/log/storage.ts";
import { SeededRandom } from "../support/deterministic.ts";
import { temporaryDirectory } from "../support/engine-process.ts";

/** A few directories and files on the machine's file system. @returns the root */
function makeTree(t: TestContext, random: SeededRandom): string {
  const root = temporaryDirectory(t);
  mkdirSync(path.join(root, "a/b"), { recursive: true });
  mkdirSync(path.join(root, "c"));
  for (const file of ["one", "a/two", "a/b/three", "c/four"]) {
    writeFileSync(path.join(root, file), random.bytes(random.between(0, 300)));
  }
  return root;
}

/** Paths and contents below the root, sorted. */
function treeOf(storage: Storage, root: string, directory = ""): string[] {
  return storage
    .list(path.join(root, directory))
    .flatMap(({ name, kind }) => {
      const place = path.join(directory, name);
      if (kind === "directory") return [`${place}/`, ...treeOf(storage, root, place)];
      return [`${place} ${contentOf(storage, path.join(root, place))}`];
    })
    .sort();
}

function contentOf(storage: Storage, place: string): string {
  const file = storage.open(place, "read");
  const bytes = Buffer.alloc(file.sizeBytes() + 10);
  const count = file.read(bytes, 0);
  file.close();
  return bytes.subarray(0, count).toString("hex");
}

type Step = (storage: Storage, root: string) => unknown;

const names = ["one", "a/two", "a/b/three", "c/four", "five", "a/six", "c/seven"];
const directories = ["a", "a/b", "c", "d", "a/e"];

function randomStep(random: SeededRandom): { readonly label: string; readonly step: Step } {
  const pick = (list: readonly string[]): string => list[random.between(0, list.length - 1)]!;
  const place = pick(names);
  const other = pick(names);
  const directory = pick(directories);
  const position = random.between(0, 250);
  const bytes = random.bytes(random.between(1, 120));
  const withFile =
    (mode: "create" | "append", use: (file: ReturnType<Storage["open"]>) => unknown): Step =>
    (storage, root) => {
      const file = storage.open(path.join(root, place), mode);
      try {
        return use(file);
      } finally {
        file.close();
      }
    };
  const steps: Record<string, Step> = {
    create: withFile("create", (file) => file.write([bytes], position)),
    write: withFile("append", (file) => file.write([bytes.subarray(0, 3), bytes.subarray(3)], position)),
    truncate: withFile("append", (file) => file.truncate(position)),
    grow: withFile("append", (file) => file.truncate(position + 200)),
    read: (storage, root) => contentOf(storage, path.join(root, place)),
    unlink: (storage, root) => storage.unlink(path.join(root, place)),
    rename: (storage, root) => storage.rename(path.join(root, place), path.join(root, other)),
    mkdir: (storage, root) => storage.makeDirectory(path.join(root, directory)),
    rmdir: (storage, root) => storage.removeDirectory(path.join(root, directory)),
    list: (storage, root) => storage.list(path.join(root, directory)).length,
  };
  const kind = pick(Object.keys(steps));
  return { label: `${kind} ${place} ${directory} ${other} ${position}+${bytes.length}`, step: steps[kind]! };
}

/** What a step gives, or the code of its error. */
function outcomeOf(step: Step, storage: Storage, root: string): unknown {
  try {
    return step(storage, root);
  } catch (error) {
    return systemCode(error) ?? error;
  }
}

describe("OverlayStorage", () => {
  it("behaves as the storage below would, and leaves that as it is", (t) => {
    const outcomes = new Set<unknown>();
    for (let seed = 1; seed <= 25; seed++) {
      const random = new SeededRandom(seed);
      const root = makeTree(t, random);
      const model = temporaryDirectory(t);
      cpSync(root, model, { recursive: true });
      const before = treeOf(fileStorage, root);
      const overlay = new OverlayStorage({ base: fileStorage, root });
      const done: string[] = [];
      for (let count = 0; count < 60; count++) {
        const { label, step } = randomStep(random);
        done.push(label);
        const outcome = outcomeOf(step, overlay, root);
        assert.deepEqual(outcome, outcomeOf(step, fileStorage, model), `seed ${seed}: ${done.join("; ")}`);
        outcomes.add(outcome);
      }
      assert.deepEqual(treeOf(overlay, root), treeOf(fileStorage, model), `seed ${seed}: ${done.join("; ")}`);
      assert.deepEqual(treeOf(fileStorage, root), before);
    }
    for (const code of ["ENOENT", "EEXIST", "ENOTEMPTY"]) assert.ok(outcomes.has(code), code);
  });

  it("moves a directory with what is in it, changed or not", (t) => {
    const root = makeTree(t, new SeededRandom(9));
    const overlay = new OverlayStorage({ base: fileStorage, root });
    const three = contentOf(fileStorage, path.join(root, "a/b/three"));
    const file = overlay.open(path.join(root, "a/two"), "append");
    file.truncate(0);
    file.write([Buffer.from("new")], 0);
    file.close();
    overlay.rename(path.join(root, "a"), path.join(root, "moved"));
    assert.equal(contentOf(overlay, path.join(root, "moved/b/three")), three);
    assert.equal(contentOf(overlay, path.join(root, "moved/two")), Buffer.from("new").toString("hex"));
    assert.throws(() => overlay.list(path.join(root, "a")), { code: "ENOENT" });
    assert.equal(contentOf(fileStorage, path.join(root, "a/b/three")), three);
  });

  it("shows the same content to every descriptor, and syncs at once", async (t) => {
    const root = makeTree(t, new SeededRandom(9));
    const overlay = new OverlayStorage({ base: fileStorage, root });
    const reader = overlay.open(path.join(root, "one"), "read");
    const writer = overlay.open(path.join(root, "one"), "append");
    writer.write([Buffer.from("xyz")], 500);
    assert.equal(reader.sizeBytes(), 503);
    const error = await new Promise<Error | undefined>((resolve) => writer.sync(resolve));
    assert.equal(error, undefined);
    reader.close();
    writer.close();
  });

  it("opens no link, as the storage below", (t) => {
    const root = makeTree(t, new SeededRandom(9));
    symlinkSync("one", path.join(root, "link"));
    const overlay = new OverlayStorage({ base: fileStorage, root });
    assert.throws(() => overlay.open(path.join(root, "link"), "append"), { code: "ELOOP" });
    assert.throws(() => overlay.open(path.join(root, "link"), "create"), { code: "EEXIST" });
  });
});
