import assert from "node:assert/strict";
import { test } from "node:test";
import { nextThreadName } from "../../src/export/worker-settings.ts";

test("nextThreadName gives names that the kernel takes, however many threads were started", () => {
  const startCount = new SharedArrayBuffer(4);
  assert.deepEqual(
    [nextThreadName({ startCount }), nextThreadName({ startCount })],
    ["mr-export-0", "mr-export-1"],
  );
  for (const [count, names] of [
    [99_999, ["mr-export-99999", "mr-export-0", "mr-export-1"]],
    // As a signed number it would be negative.
    [2 ** 31, ["mr-export-83648", "mr-export-83649", "mr-export-83650"]],
  ] as const) {
    new Uint32Array(startCount)[0] = count;
    assert.deepEqual(
      Array.from(names, () => nextThreadName({ startCount })),
      names,
    );
  }
});
