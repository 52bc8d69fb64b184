import assert from "node:assert/strict";
import { test } from "node:test";
import { MillraceError } from "../../../src/core/errors.ts";
import { importOptional } from "../../../src/export/destinations/optional-package.ts";

test("importOptional says which package is missing, and passes on every other failure", async () => {
  const name: string = "@millrace/is-not-there";
  const missing = importOptional(() => import(name) as Promise<unknown>, { name, service: "Test" });
  await assert.rejects(missing, (error) => {
    assert.ok(error instanceof MillraceError);
    assert.equal(error.code, "INVALID_REQUEST");
    assert.match(error.message, /Cannot export to Test: the optional package @millrace\/is-not-there is not/);
    return true;
  });
  const broken = new Error("broken");
  const failing = importOptional(() => Promise.reject(broken), { name, service: "Test" });
  await assert.rejects(failing, (error) => error === broken);
  assert.equal(await importOptional(() => Promise.resolve(7), { name, service: "Test" }), 7);
});
