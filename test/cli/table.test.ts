import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { formatBytes, formatFields, formatSpan, formatTable, wrapText } from "../../src/cli/table.ts";

describe("formatTable", () => {
  it("aligns words left and numbers right, without blanks at the end of a line", () => {
    const text = formatTable(
      ["name", "messages", "kind"],
      [
        ["raw", 7, "File"],
        ["inferences", 12_345, "Memory"],
      ],
    );
    assert.equal(
      text,
      ["name        messages  kind", "raw                7  File", "inferences     12345  Memory"].join("\n"),
    );
  });

  it("shows control characters of a name instead of sending them to the terminal", () => {
    assert.equal(formatTable(["name"], [["a\u001b[2Jb\n\u202e"]]), "name\na\\x1b[2Jb\\n\\u202e");
  });

  it("is the head alone without rows", () => {
    assert.equal(formatTable(["name", "messages"], []), "name  messages");
  });
});

describe("formatFields", () => {
  it("aligns the values", () => {
    const fields = [
      ["name", "raw"],
      ["messages", 5],
    ] as const;
    assert.equal(formatFields(fields), "name      raw\nmessages  5");
  });
});

describe("formatBytes", () => {
  it("uses the largest unit that keeps a whole number before the point", () => {
    const given = [0, 1023, 1024, 1536, 268_435_456, 2 ** 63];
    assert.deepEqual(given.map(formatBytes), ["0 B", "1023 B", "1 KiB", "1.5 KiB", "256 MiB", "8 EiB"]);
  });
});

describe("formatSpan", () => {
  it("says a time to about two digits, in the unit that fits", () => {
    const spans = [0, 400, 9_940, 59_999, 60_000, 600_000, 8_000_000, 36_000_000, 200_000_000].map(
      formatSpan,
    );
    assert.deepEqual(spans, ["0 s", "0.4 s", "9.9 s", "60 s", "1 min", "10 min", "2.2 h", "10 h", "2.3 d"]);
  });
});

describe("wrapText", () => {
  it("breaks at blanks, indents what follows, and escapes what would move the cursor", () => {
    assert.equal(wrapText("ab cd ef\u001b", { columns: 6, indent: " " }), " ab cd\n  ef\\x1b");
    assert.equal(wrapText("longer-than-that", { columns: 6, indent: " " }), " longer-than-that");
  });
});
