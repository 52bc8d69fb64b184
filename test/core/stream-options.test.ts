import assert from "node:assert/strict";
import { describe, it } from "node:test";
import {
  changeStreamOptions,
  readStoredOptions,
  streamOptionsDefault,
} from "../../src/core/stream-options.ts";

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
      message: /"freeexported" is not known, only freeExported, exporters, files, setAside$/,
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

describe("options of the companion stream", () => {
  it("change field by field, and go back to the default with null", () => {
    const sized = changeStreamOptions(streamOptionsDefault, { setAside: { maxSize: 65_536 } });
    assert.deepEqual(sized, { freeExported: false, setAside: { maxSize: 65_536 } });
    const both = changeStreamOptions(sized, { setAside: { strategyOnFull: "RejectNewData" }, files: [] });
    assert.deepEqual(both.setAside, { maxSize: 65_536, strategyOnFull: "RejectNewData" });
    assert.deepEqual(changeStreamOptions(both, { setAside: { maxSize: null } }).setAside, {
      strategyOnFull: "RejectNewData",
    });
    assert.deepEqual(changeStreamOptions(both, { setAside: null }), streamOptionsDefault);
  });

  it("refuse what no companion stream can be", () => {
    const small = () => changeStreamOptions(streamOptionsDefault, { setAside: { maxSize: 65_535 } });
    assert.throws(small, /setAside: maxSize is 65535, must be an integer from 65536 to/);
    const other = () => changeStreamOptions(streamOptionsDefault, { setAside: { strategyOnFull: 1 } });
    assert.throws(other, /strategyOnFull is 1, must be one of RejectNewData, OverwriteOldestData/);
  });
});

describe("readStoredOptions", () => {
  it("knows whose companion a stream is, which no client may say", () => {
    const stored = { freeExported: false, companionOf: "readings" };
    assert.deepEqual(readStoredOptions(stored), stored);
    assert.throws(
      () => readStoredOptions({ companionOf: 7 }),
      /companionOf is 7, must be the name of a stream/,
    );
    const said = () => changeStreamOptions(streamOptionsDefault, stored);
    assert.throws(said, /"companionOf" is not known/);
  });
});
