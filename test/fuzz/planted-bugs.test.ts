import assert from "node:assert/strict";
import { cpSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { temporaryDirectory } from "../support/engine-process.ts";
import { runProgram } from "../support/program.ts";

const timeout = 120_000;
/** One under which each bug is found: another may take more inputs. */
const PLANTED_SEED = "20261123";
/** compiled to dist/test/fuzz/ */
const root = path.join(import.meta.dirname, "..", "..", "..");
const COPIED = ["src", "bench", "test/fuzz", "test/support"];

/** A mistake in a compiled source, which a bounded run must find. */
interface PlantedBug {
  readonly name: string;
  readonly file: string;
  readonly replace: readonly [from: string, to: string][];
  /** Arguments of run-fuzz.js, or a test file. */
  readonly run: readonly string[] | string;
  readonly finds: RegExp;
}

const target = (name: string, runs: number): string[] => ["--target", name, "--runs", String(runs)];

const bugs: readonly PlantedBug[] = [
  {
    name: "frames of a length that is not one are taken",
    file: "wire/frame-decoder.js",
    replace: [["const FRAME_BYTES_MIN = 2;", "const FRAME_BYTES_MIN = 1;"]],
    run: target("frames", 3000),
    finds: /frames, seed .*AssertionError/,
  },
  {
    name: "the rest of an oversize frame is never passed over",
    file: "wire/frame-decoder.js",
    replace: [["Math.min(this.#skipBytes, chunk.length - at);", "0;"]],
    run: [...target("frames", 3000), "--hang-ms", "1000"],
    finds: /does not end within 1000 ms/,
  },
  {
    name: "a number is read one byte past the end",
    file: "wire/cbor-reader.js",
    replace: [
      [
        "if (count > this.#end - this.#at)\n            throw",
        "if (count > this.#end - this.#at + 1)\n            throw",
      ],
    ],
    run: target("cbor", 4000),
    finds: /cbor, seed .*RangeError/,
  },
  {
    name: "what is longer than a request is taken for one",
    file: "wire/subscribe-layout.js",
    replace: [["if (frame.length === length)", "if (frame.length >= length)"]],
    run: target("own-layouts", 6000),
    finds: /own-layouts, seed .*AssertionError/,
  },
  {
    name: "a stored definition is taken for one without a look at it",
    file: "stream/definition-file.js",
    replace: [["if (!isDefinition(definition))", "if (false)"]],
    run: target("small-files", 2000),
    finds: /small-files, seed .*Error/,
  },
  {
    name: "of two slots the first one counts",
    file: "log/slot-file.js",
    replace: [["found.counter <= this.#counter", "this.#counter > 0"]],
    run: target("checked-files", 1500),
    finds: /checked-files, seed .*AssertionError/,
  },
  {
    name: "messages are given out without a look at their checksums",
    file: "log/decoded-block.js",
    replace: [
      ["|| crc32(body) !== header.storedCrc", ""],
      ["if (crc32(raw) !== header.rawCrc)", "if (false)"],
    ],
    run: target("segments", 200),
    finds: /segments, seed .*AssertionError/,
  },
  {
    name: "a request that fails is answered twice",
    file: "engine/engine.js",
    replace: [
      [
        "replyFailure(client, { operation, requestId }, error);",
        "{ replyFailure(client, { operation, requestId }, error); replyFailure(client, { operation, requestId }, error); }",
      ],
    ],
    run: "test/fuzz/engine.test.js",
    finds: /one answer to each request/,
  },
];

/** A copy of this build, to plant bugs in. */
function copyBuild(copy: string): void {
  const isRun = (place: string): boolean => !/\.(d\.ts|map)$/.test(place);
  for (const part of COPIED)
    cpSync(path.join(root, "dist", part), path.join(copy, "dist", part), { recursive: true, filter: isRun });
  mkdirSync(path.join(copy, "test"));
  for (const shared of ["node_modules", "native-bindings", "package.json", "test/golden"])
    symlinkSync(path.join(root, shared), path.join(copy, shared));
}

/** @returns what takes it out again */
function plant(copy: string, { file, replace }: PlantedBug): () => void {
  const place = path.join(copy, "dist", "src", file);
  const sound = readFileSync(place, "utf8");
  let source = sound;
  for (const [from, to] of replace) {
    assert.equal(source.split(from).length, 2, `${file} has once: ${from}`);
    source = source.replace(from, () => to);
  }
  writeFileSync(place, source);
  return () => writeFileSync(place, sound);
}

test("the fuzzers find", { timeout }, async (t) => {
  const copy = temporaryDirectory(t);
  copyBuild(copy);
  const dist = path.join(copy, "dist");
  for (const bug of bugs) {
    await t.test(bug.name, { timeout }, async (step) => {
      step.after(plant(copy, bug));
      const args =
        typeof bug.run === "string"
          ? ["--test", "--test-reporter=tap", path.join(dist, bug.run)]
          : [path.join(dist, "test/fuzz/run-fuzz.js"), ...bug.run, "--seed", PLANTED_SEED];
      const env = { ...process.env, SEED: PLANTED_SEED };
      const { code, stdout, stderr } = await runProgram(step, args, { env });
      assert.equal(code, 1, `${stdout}${stderr}`);
      assert.match(stdout.replaceAll("\n", " "), bug.finds);
      if (typeof bug.run !== "string") assert.match(stdout, /again by: node .* --input /);
    });
  }
});
