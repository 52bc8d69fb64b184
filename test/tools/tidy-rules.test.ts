import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { checkTree } from "../../tools/tidy-rules.ts";

/** Each finding as `file:line rule`, with empty files for whatever else the case imports. */
function check(files: Record<string, string>): string[] {
  return checkTree(new Map(Object.entries(files))).map(({ file, line, rule }) => `${file}:${line} ${rule}`);
}

function messages(files: Record<string, string>): string {
  return checkTree(new Map(Object.entries(files)))
    .map(({ message }) => message)
    .join("\n");
}

describe("checkTree, imports", () => {
  it("allows what the table of folders allows", () => {
    const files = {
      "src/core/clock.ts": "",
      "src/log/segment.ts": 'import "../core/clock.ts";\nimport "./layout.ts";\n',
      "src/log/layout.ts": "",
      "src/serve.ts": 'import "./log/segment.ts";\nimport "./net/port.ts";\n',
      "src/net/port.ts": 'import { WebSocketServer } from "ws";\n',
      "test/log/segment.test.ts": 'import "../../src/log/segment.ts";\nimport "node:fs";\n',
    };
    assert.deepEqual(check(files), []);
  });

  it("refuses an import that the table does not list, and says what is allowed", () => {
    const files = {
      "src/core/a.ts": 'import "../log/b.ts";\n',
      "src/log/b.ts": "",
      "src/net/c.ts": '\nexport const load = () => import("../log/b.ts");\n',
      "src/wire/d.ts": 'export type B = import("../log/b.ts").B;\n',
    };
    assert.deepEqual(check(files), [
      "src/core/a.ts:1 import",
      "src/net/c.ts:2 import",
      "src/wire/d.ts:1 import",
    ]);
    assert.match(messages(files), /core\/ must not import log\/: it may import nothing/);
    assert.match(messages(files), /net\/ must not import log\/: it may import core, wire, native, observe/);
  });

  it("refuses that a folder imports a root file of src, tests or tools", () => {
    const files = {
      "src/engine/a.ts": 'import "../serve.ts";\nimport "../../test/support/b.ts";\n',
      "src/serve.ts": "",
      "test/support/b.ts": "",
    };
    assert.deepEqual(check(files), ["src/engine/a.ts:1 import", "src/engine/a.ts:2 import"]);
    assert.match(messages(files), /the root file src\/serve\.ts/);
    assert.match(messages(files), /src must not import test\/support\/b\.ts/);
  });

  it("allows the command of benches its scenarios, nothing else of src any, and benches no tests", () => {
    const files = {
      "src/cli/bench.ts":
        'const load = () => import("../../bench/live/a.ts");\nimport "../../bench/run.ts";\n',
      "src/cli/read.ts": 'import "../../bench/live/a.ts";\n',
      "bench/live/a.ts": 'import "../../src/wire/b.ts";\nimport "../../test/support/c.ts";\n',
      "bench/run.ts": "",
      "src/wire/b.ts": "",
      "test/support/c.ts": "",
    };
    assert.deepEqual(check(files), [
      "bench/live/a.ts:2 import",
      "src/cli/bench.ts:2 import",
      "src/cli/read.ts:1 import",
    ]);
  });

  it("allows the store commands all of log, and the other commands nothing of it", () => {
    const files = {
      "src/cli/store/a.ts": 'import "../../log/b.ts";\nimport "../../engine/c.ts";\n',
      "src/cli/d.ts": 'import "../log/b.ts";\n',
      "src/log/b.ts": "",
      "src/engine/c.ts": "",
    };
    assert.deepEqual(check(files), ["src/cli/d.ts:1 import", "src/cli/store/a.ts:2 import"]);
  });

  it("allows the engine the interface that net calls, and nothing else of net", () => {
    const files = {
      "src/engine/a.ts": 'import "../net/request-handler.ts";\nimport "../net/port.ts";\n',
      "src/net/request-handler.ts": "",
      "src/net/port.ts": "",
    };
    assert.deepEqual(check(files), ["src/engine/a.ts:2 import"]);
  });

  it("refuses a folder that the table does not know", () => {
    const files = { "src/cloud/a.ts": 'import "../core/b.ts";\n', "src/core/b.ts": "" };
    assert.match(messages(files), /src\/cloud\/ is not in the import table/);
  });

  it("refuses a missing file and a missing suffix", () => {
    const files = { "src/log/a.ts": 'import "./gone.ts";\nimport "./b";\n', "src/log/b.ts": "" };
    assert.deepEqual(check(files), ["src/log/a.ts:1 import", "src/log/a.ts:2 import"]);
  });

  it("refuses a package outside the folder that owns it, by name and not by prefix", () => {
    const files = {
      "src/engine/a.ts": 'import "ws";\nimport "ws-tools";\nimport "node:fs/promises";\n',
      "src/log/file-storage.ts": 'import "node:fs";\n',
    };
    assert.deepEqual(check(files), ["src/engine/a.ts:1 import", "src/engine/a.ts:3 import"]);
  });

  it("refuses a package that an installation would lack, unless it is a type or imported on use", () => {
    const manifest = {
      dependencies: { ws: "1", "@aws-sdk/client-kinesis": "1" },
      devDependencies: { tool: "1" },
    };
    const files = {
      "package.json": JSON.stringify(manifest),
      "src/net/a.ts": 'import "ws";\nimport "node:net";\nimport x from "@aws-sdk/client-kinesis/y";\n',
      "src/net/b.ts":
        'import type { A } from "tool";\nconst load = () => import("tool");\nimport "tool/b";\n',
      "test/net/a.test.ts": 'import "tool";\n',
    };
    assert.deepEqual(check(files), ["src/net/b.ts:3 dependency"]);
  });

  it("reports a cycle once, with the way round", () => {
    const files = {
      "src/log/a.ts": 'import "./b.ts";\n',
      "src/log/b.ts": '\nimport type { C } from "./c.ts";\n',
      "src/log/c.ts": 'import "./a.ts";\n',
      "src/log/d.ts": 'import "./a.ts";\n',
    };
    assert.deepEqual(check(files), ["src/log/c.ts:1 cycle"]);
    assert.match(messages(files), /src\/log\/a\.ts -> src\/log\/b\.ts -> src\/log\/c\.ts -> src\/log\/a\.ts/);
  });

  it("refuses re-exports outside the client's index, and other index files", () => {
    const text = 'export * from "./a.ts";\n';
    const files = {
      "src/client/a.ts": "",
      "src/client/index.ts": text,
      "src/wire/a.ts": "",
      "src/wire/all.ts": text,
      "src/ring/index.ts": "",
    };
    assert.deepEqual(check(files), ["src/ring/index.ts:1 file-name", "src/wire/all.ts:1 barrel"]);
  });

  it("refuses a worker path that leads nowhere", () => {
    const files = {
      "src/stream/a.ts":
        'new URL("./stream-worker.js", import.meta.url);\nnew URL("./gone-worker.js", import.meta.url);\n',
      "src/stream/stream-worker.ts": "",
    };
    assert.deepEqual(check(files), ["src/stream/a.ts:2 entry"]);
  });
});

describe("checkTree, owners", () => {
  it("leaves time, randomness and the environment to their owners in src", () => {
    const text =
      "Date.now();\nnew Date();\nMath.random();\nprocess.env;\nprocess['env'];\nperformance.now();\n";
    assert.deepEqual(
      check({ "src/log/a.ts": text }),
      [1, 2, 3, 4, 5, 6].map((line) => `src/log/a.ts:${line} owner`),
    );
    assert.deepEqual(check({ "test/log/a.test.ts": text }), []);
    assert.deepEqual(check({ "src/core/clock.ts": "Date.now();\nnew Date();\nperformance.now();\n" }), []);
    assert.match(messages({ "src/log/a.ts": "Math.random();\n" }), /take a Random/);
  });

  it("does not take a comment, a text or a date of given time for the thing itself", () => {
    const text = '// Date.now() is elsewhere\nexport const a = "Math.random";\nnew Date(5);\n';
    assert.deepEqual(check({ "src/log/a.ts": text }), []);
  });

  it("refuses console in src", () => {
    assert.deepEqual(check({ "src/net/a.ts": "console.log(1);\n" }), ["src/net/a.ts:1 console"]);
  });
});

describe("checkTree, shape", () => {
  it("refuses names that say nothing and names that are not kebab-case", () => {
    const files = { "src/log/utils.ts": "", "src/helpers/a.ts": "", "src/log/SegmentWriter.ts": "" };
    assert.deepEqual(check(files), [
      "src/helpers/a.ts:1 file-name",
      "src/log/SegmentWriter.ts:1 file-name",
      "src/log/utils.ts:1 file-name",
    ]);
  });

  it("refuses an enum, unfinished work, tabs and trailing blanks", () => {
    const text = "enum A { B }\n// TODO later\n\tlet a;\nlet b; \n";
    assert.deepEqual(check({ "test/a.test.ts": text }), [
      "test/a.test.ts:1 enum",
      "test/a.test.ts:2 unfinished",
      "test/a.test.ts:3 whitespace",
      "test/a.test.ts:4 whitespace",
    ]);
  });

  it("bounds the length of a worker entry, a file and a test", () => {
    const lines = (count: number) => "f();\n".repeat(count);
    assert.deepEqual(check({ "src/stream/stream-worker.ts": lines(59), "src/log/a.ts": lines(400) }), []);
    const files = {
      "src/log/b.ts": lines(401),
      "src/stream/stream-worker.ts": lines(60),
      "test/log/b.test.ts": lines(600),
    };
    assert.deepEqual(check(files), [
      "src/log/b.ts:401 file-length",
      "src/stream/stream-worker.ts:1 worker-entry",
    ]);
  });
});
