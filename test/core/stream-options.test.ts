import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { changeStreamOptions, streamOptionsDefault } from "../../src/core/stream-options.ts";

describe("changeStreamOptions", () => {
  it("changes what is named and keeps the rest", () => {
    assert.deepEqual(changeStreamOptions(streamOptionsDefault, { freeExported: true }), {
      freeExported: true,
    });
    assert.deepEqual(changeStreamOptions({ freeExported: true }, {}), { freeExported: true });
  });

  it("refuses a name that it does not know, naming those it does", () => {
    const refusal = {
      code: "INVALID_REQUEST",
      message: /"freeexported" is not known, only freeExported, exporters, files$/,
    };
    assert.throws(() => changeStreamOptions(streamOptionsDefault, { freeexported: true }), refusal);
    const inherited = JSON.parse('{"__proto__":true}') as object;
    assert.throws(() => changeStreamOptions(streamOptionsDefault, inherited), /"__proto__" is not known/);
    assert.throws(() => changeStreamOptions(streamOptionsDefault, { toString: true }), /is not known/);
  });

  it("refuses a value of another type, and what is no object", () => {
    const refusal = { code: "INVALID_REQUEST", message: /freeExported is "yes", must be true or false/ };
    assert.throws(() => changeStreamOptions(streamOptionsDefault, { freeExported: "yes" }), refusal);
    for (const changes of [null, [], "x", 1, undefined]) {
      assert.throws(() => changeStreamOptions(streamOptionsDefault, changes), /must be an object/);
    }
  });
});

describe("options of exporters", () => {
  const paused = { freeExported: false, exporters: { k: { paused: true } } };

  it("change exporter by exporter, and field by field", () => {
    const both = changeStreamOptions(paused, {
      exporters: { k: { minSharePercent: 20 }, l: { paused: true } },
    });
    assert.deepEqual(both.exporters, { k: { paused: true, minSharePercent: 20 }, l: { paused: true } });
    assert.deepEqual(changeStreamOptions(both, { exporters: { k: { paused: null } } }).exporters, {
      k: { minSharePercent: 20 },
      l: { paused: true },
    });
    assert.deepEqual(changeStreamOptions(paused, { exporters: { k: null } }), { freeExported: false });
  });

  it("are within their bounds, and known", () => {
    const wish = (options: unknown) => () => changeStreamOptions(paused, { exporters: { k: options } });
    assert.throws(
      wish({ minSharePercent: 101 }),
      /minSharePercent is 101, must be an integer from 1 to 100$/,
    );
    assert.throws(wish({ inFlightMax: 1.5 }), /inFlightMax is 1.5, must be/);
    assert.throws(wish({ partitionKey: "pointer:a" }), /partitionKey is "pointer:a", must be random, fixed/);
    assert.throws(wish({ share: 1 }), /exporter "k": "share" is not known, only paused/);
    assert.throws(wish(7), /options of exporter "k": they are 7, must be an object/);
    assert.doesNotThrow(wish({ partitionKey: "pointer:/camera/id" }));
  });
});

describe("exporters to files", () => {
  const file = { identifier: "f", directory: "/data" };

  it("have their defaults filled in, and stand for the whole list", () => {
    const options = changeStreamOptions(streamOptionsDefault, { files: [file] });
    assert.deepEqual(options.files, [
      { format: "jsonLines", gzip: false, rotateBytes: 64 * 2 ** 20, ...file },
    ]);
    assert.deepEqual(changeStreamOptions(options, { files: [] }), streamOptionsDefault);
  });

  it("are refused without what they need, with the reason", () => {
    const wish = (one: object) => () => changeStreamOptions(streamOptionsDefault, { files: [one] });
    assert.throws(wish({ identifier: "f" }), /file export 0: directory is missing$/);
    assert.throws(wish({ ...file, directory: "data" }), /directory is "data", must be an absolute path$/);
    assert.throws(wish({ ...file, format: "csv" }), /format is "csv", must be one of jsonLines, raw$/);
    assert.throws(wish({ ...file, rotateBytes: 1 }), /rotateBytes is 1, must be/);
  });
});
