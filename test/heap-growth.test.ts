import assert from "node:assert/strict";
import path from "node:path";
import { pathToFileURL } from "node:url";
import { it } from "node:test";
import { letHeapGrow } from "../src/heap-growth.ts";
import { runProgram } from "./support/program.ts";

const heapGrowth = pathToFileURL(path.join(import.meta.dirname, "..", "src", "heap-growth.js")).href;

// What it saves is for the ingest bench to show. V8 complains on standard error of a flag that it does not have, and goes on.
it("letHeapGrow sets a flag that the V8 of this Node.js knows", async (t) => {
  const call = `import { letHeapGrow } from ${JSON.stringify(heapGrowth)};
    if (!letHeapGrow({ memoryBytes: 2 ** 33 })) throw new Error("did nothing");`;
  const { code, stderr } = await runProgram(t, ["--input-type=module", "--eval", call]);
  assert.equal(code, 0, stderr);
  assert.equal(stderr, "");
});

it("letHeapGrow leaves a small machine alone", () => {
  assert.equal(letHeapGrow({ memoryBytes: 2 ** 30 }), false);
});
