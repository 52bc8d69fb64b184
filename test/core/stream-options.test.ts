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
    const refusal = { code: "INVALID_REQUEST", message: /"freeexported" is not known, only freeExported$/ };
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
