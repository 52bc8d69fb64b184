import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { EngineProcess, temporaryDirectory } from "../../support/engine-process.ts";

interface Line {
  readonly type: string;
  readonly kind?: string;
  readonly offset?: number;
  readonly firstSequence?: number;
  readonly messageCount?: number;
  readonly problem?: string;
  readonly sequence?: number;
  readonly text?: string;
  readonly base64?: string;
}

function parseLines(text: string): Line[] {
  // Standard output is read as Latin-1.
  const utf8 = Buffer.from(text, "latin1").toString();
  return utf8
    .split("\n")
    .slice(0, -1)
    .map((line) => JSON.parse(line) as Line);
}

function segmentsOf(storeDirectory: string): string[] {
  return readdirSync(storeDirectory, { recursive: true, encoding: "utf8" })
    .filter((name) => name.endsWith(".lz4"))
    .sort()
    .map((name) => path.join(storeDirectory, name));
}

/** One engine wrote these segments and may go on running: a dump only reads. */
test("millrace store dump", async (t) => {
  const engine = await EngineProcess.start(t);
  await engine.run(["streams", "create", "lines", "--segment-size", "65536"]);
  const lines = Array.from({ length: 4000 }, (_, index) => `{"reading":${index},"place":"K\u00f6ln"}`);
  await engine.run(["append", "lines"], lines.join("\n"));
  await engine.run(["append", "lines"], Buffer.from("\u001b[31mred\tb\\\n\xff\xfe\n", "latin1"));
  const segments = segmentsOf(engine.storeDirectory);
  const dump = (...args: string[]) => engine.run(["store", "dump", ...args]);

  await t.test("prints every message of every segment", async () => {
    assert.ok(segments.length > 1);
    const texts: string[] = [];
    for (const segment of segments) {
      const { code, stdout, stderr } = await dump(segment, "--messages", "--json");
      assert.deepEqual([code, stderr], [0, ""]);
      for (const { type, sequence, text, base64 } of parseLines(stdout)) {
        if (type !== "message") continue;
        assert.equal(sequence, texts.length);
        texts.push(text ?? `base64 ${base64}`);
      }
    }
    assert.deepEqual(texts, [...lines, "\u001b[31mred\tb\\", "base64 //4="]);
  });

  await t.test("prints payloads so that they do nothing to a terminal", async () => {
    const { stdout } = await dump(segments.at(-1)!, "--messages", "--from", "4000");
    assert.match(stdout, /4000 {2}\S+Z {2}11 bytes {2}\\x1b\[31mred\\tb\\\\\n/);
    assert.match(stdout, /4001 {2}\S+Z {2}2 bytes {2}\\xff\\xfe\n/);
    assert.ok(!stdout.includes("\u001b"));
  });

  await t.test("begins and stops where it is told", async () => {
    const [segment] = segments;
    const all = parseLines((await dump(segment!, "--json")).stdout).filter(({ kind }) => kind === "data");
    const { firstSequence, messageCount } = all[0]!;
    const some = parseLines(
      (await dump(segment!, "--json", "--messages", "--from", "7", "--limit", "3")).stdout,
    );
    assert.deepEqual(
      some.map(({ type, sequence }) => sequence ?? type),
      ["head", "block", 7, 8, 9, "totals"],
    );
    const behind = (firstSequence ?? 0) + (messageCount ?? 0);
    const one = parseLines((await dump(segment!, "--json", "--from", String(behind), "--limit", "1")).stdout);
    const blocks = one.filter(({ type }) => type === "block");
    assert.deepEqual(blocks[0]?.firstSequence, all[1]?.firstSequence);
    assert.ok(blocks.length <= 1);
  });

  await t.test("prints a broken segment, with what is damaged and what is not", async () => {
    const bytes = readFileSync(segments[0]!);
    const blocks = parseLines((await dump(segments[0]!, "--json")).stdout).filter(
      ({ type }) => type === "block",
    );
    bytes[blocks[0]!.offset! + 200]! ^= 0x10;
    bytes[3]! ^= 1;
    const broken = path.join(temporaryDirectory(t), "broken.lz4");
    writeFileSync(broken, bytes.subarray(0, bytes.length - 3));
    const { code, stdout } = await dump(broken);
    assert.equal(code, 0);
    assert.match(stdout, /header copies {2}first damaged, second whole\n/);
    assert.match(stdout, /DAMAGE: the checksum of the stored bytes does not match; \d+ bytes skipped\n/);
    assert.match(stdout, /DAMAGE {5}\d+ bytes: the file ends inside [^\n]+; nothing that verifies follows\n/);
    assert.match(stdout, /; damage: 1 block that cannot be read, \d+ bytes that are no block\n$/);
    const json = parseLines((await dump(broken, "--json")).stdout);
    assert.deepEqual(
      json.flatMap(({ type, problem }) =>
        type === "damage" ? [type] : problem === undefined ? [] : [problem],
      ),
      ["STORED_CRC", "damage"],
    );
  });

  await t.test("fails for what is no segment, and does not hang on a pipe", async () => {
    const directory = temporaryDirectory(t);
    const names = { text: "text", pipe: "pipe", link: "link", empty: "empty" };
    writeFileSync(path.join(directory, names.text), "neither head nor block\n".repeat(1000));
    writeFileSync(path.join(directory, names.empty), "");
    execFileSync("mkfifo", [path.join(directory, names.pipe)]);
    symlinkSync(segments[0]!, path.join(directory, names.link));
    for (const name of [...Object.values(names), "missing"]) {
      const { code, stderr } = await dump(path.join(directory, name));
      assert.equal(code, 1, name);
      assert.match(stderr, new RegExp(`^millrace: [^\\n]*${name}[^\\n]*\\n$`), name);
    }
    assert.equal((await dump()).code, 2);
    assert.equal((await dump(segments[0]!, "--limit", "x")).code, 2);
  });
});
