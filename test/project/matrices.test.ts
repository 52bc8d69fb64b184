import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import ts from "typescript";

const root = path.join(import.meta.dirname, "..", "..", "..");
/** The matrices, with the number of their rows. */
const matrices = [
  ["fault-matrix.md", 74],
  ["attack-matrix.md", 51],
] as const;

interface Row {
  readonly number: number;
  readonly tests: string;
  readonly notes: string;
}

function readRows(matrix: string): Row[] {
  const text = readFileSync(path.join(root, "test", matrix), "utf8");
  return text.split("\n").flatMap((line) => {
    const cells = line.split("|").map((cell) => cell.trim());
    if (!/^\d+$/.test(cells[1] ?? "")) return [];
    assert.equal(cells.length, 7, line);
    return [{ number: Number(cells[1]), tests: cells[4]!, notes: cells[5]! }];
  });
}

/** Every text that stands in a file as a string, or as a piece of one. */
function stringsIn(file: string): string[] {
  const source = ts.createSourceFile(file, readFileSync(file, "utf8"), ts.ScriptTarget.ES2023, true);
  const strings: string[] = [];
  const visit = (node: ts.Node): void => {
    if (ts.isStringLiteralLike(node) || ts.isTemplateHead(node) || ts.isTemplateMiddleOrTemplateTail(node))
      strings.push(node.text);
    ts.forEachChild(node, visit);
  };
  visit(source);
  return strings;
}

const known = new Map<string, string[]>();

function assertExists(reference: string, number: number): void {
  const match = /^`(test\/[^`]+\.ts)`: "([^"]+)"$/.exec(reference);
  assert.ok(match !== null, `row ${number} names no test: ${reference}`);
  const [, file, name] = match;
  if (!known.has(file!)) known.set(file!, stringsIn(path.join(root, file!)));
  assert.ok(
    known.get(file!)!.some((text) => text.includes(name!)),
    `row ${number}: there is no "${name!}" in ${file!}`,
  );
}

for (const [matrix, rowCount] of matrices) {
  test(`${matrix} has a row for each number`, () => {
    assert.deepEqual(
      readRows(matrix).map(({ number }) => number),
      Array.from({ length: rowCount }, (_, index) => index + 1),
    );
  });

  test(`${matrix} names for each row tests that exist, or the reason why there is none`, () => {
    for (const { number, tests, notes } of readRows(matrix)) {
      if (tests === "-") assert.ok(notes.length > 20, `row ${number} has neither a test nor a reason`);
      else for (const reference of tests.split("; ")) assertExists(reference, number);
    }
  });
}
