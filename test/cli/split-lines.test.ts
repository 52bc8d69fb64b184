import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import { splitLines } from "../../src/cli/split-lines.ts";
import { MESSAGE_BYTES_MAX_DEFAULT } from "../../src/core/limits.ts";

async function* chunksOf(chunks: readonly Uint8Array[]): AsyncGenerator<Uint8Array> {
  for (const chunk of chunks) yield await Promise.resolve(chunk);
}

async function split(chunks: readonly Uint8Array[]): Promise<string[]> {
  const lines: string[] = [];
  for await (const some of splitLines(chunksOf(chunks))) {
    lines.push(...some.map((line) => Buffer.from(line).toString("latin1")));
  }
  return lines;
}

describe("splitLines", () => {
  it("gives every line whatever the cuts between chunks", async () => {
    // From an alphabet in which newlines are frequent, any text cut anywhere.
    const chunk = fc
      .array(fc.constantFrom(10, 13, 0, 97, 255), { maxLength: 12 })
      .map((bytes) => Uint8Array.from(bytes));
    await fc.assert(
      fc.asyncProperty(fc.array(chunk, { maxLength: 12 }), async (chunks) => {
        const expected = Buffer.concat(chunks).toString("latin1").split("\n");
        if (expected.at(-1) === "") expected.pop();
        assert.deepEqual(await split(chunks), expected);
      }),
    );
  });

  it("refuses a line that cannot be a message before it ends", async () => {
    let chunkCount = 0;
    const endless = async function* () {
      for (;;) {
        chunkCount += 1;
        yield await Promise.resolve(new Uint8Array(1024 * 1024));
      }
    };
    await assert.rejects(splitLines(endless()).next(), { code: "MESSAGE_TOO_LARGE" });
    assert.equal(chunkCount, MESSAGE_BYTES_MAX_DEFAULT / (1024 * 1024) + 1);
  });
});
