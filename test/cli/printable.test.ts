import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { printableBytes, printableText } from "../../src/cli/printable.ts";

describe("printableBytes", () => {
  it("leaves text as it is and escapes what a terminal would obey", () => {
    const cases: [string, string][] = [
      ["21.5 \u00b0C \u6e29\u5ea6", "21.5 \u00b0C \u6e29\u5ea6"],
      ["a\nb\r\tc", "a\\nb\\r\\tc"],
      ["\u001b[2Jx\u0007", "\\x1b[2Jx\\x07"],
      ["\u009b31m", "\\x9b31m"],
      ["\u202egnp.exe", "\\u202egnp.exe"],
      ["C:\\n", "C:\\\\n"],
    ];
    for (const [text, wanted] of cases) {
      assert.equal(printableText(text), wanted);
      assert.equal(printableBytes(Buffer.from(text)), wanted);
    }
  });

  it("shows bytes that are no UTF-8 one by one", () => {
    assert.equal(printableBytes(Buffer.from([0x41, 0xff, 0x00, 0x5c, 0x7e])), "A\\xff\\x00\\\\~");
    assert.equal(printableBytes(Buffer.from([0xc3])), "\\xc3");
  });
});
