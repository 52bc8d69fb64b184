import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { MillraceError } from "../../src/core/errors.ts";
import { StatusCode } from "../../src/core/status-code.ts";
import { failureReply, officialStatus } from "../../src/wire/reply-status.ts";

describe("officialStatus", () => {
  it("never exceeds 15 for protocol 1.0.0 and 18 for 1.1.0", () => {
    for (const status of Object.values(StatusCode)) {
      assert.ok(officialStatus(status, "1.0.0") <= 15, `${status} to 1.0.0`);
      assert.ok(officialStatus(status, "1.1.0") <= 18, `${status} to 1.1.0`);
      if (status <= 15) assert.equal(officialStatus(status, "1.0.0"), status);
      if (status <= 18) assert.equal(officialStatus(status, "1.1.0"), status);
    }
  });

  it("makes a request that 1.0.0 has no number for an invalid one", () => {
    assert.equal(officialStatus(StatusCode.UnknownOperation, "1.0.0"), StatusCode.InvalidRequest);
    assert.equal(officialStatus(StatusCode.StreamFull, "1.0.0"), StatusCode.UnknownFailure);
  });
});

describe("failureReply", () => {
  it("says first whether a message may be stored", () => {
    const unknown = failureReply("r", new MillraceError("UNKNOWN_OUTCOME", "worker died"), "1.1.0");
    assert.deepEqual(unknown, {
      requestId: "r",
      status: 1,
      errorMessage: "unknown outcome: retry: worker died",
    });
    const readOnly = failureReply("r", new MillraceError("STORAGE_READ_ONLY", "disk failed"), "1.1.0");
    assert.deepEqual(readOnly, { requestId: "r", status: 1, errorMessage: "rejected: disk failed" });
    const full = failureReply("r", new MillraceError("STREAM_FULL", `Stream "s" is full`), "1.0.0");
    assert.deepEqual(full, { requestId: "r", status: 3, errorMessage: 'Stream "s" is full' });
  });
});
