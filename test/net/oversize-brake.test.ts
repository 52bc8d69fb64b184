import assert from "node:assert/strict";
import { it } from "node:test";
import { OVERSIZE_SKIPPED_BYTES_MAX } from "../../src/core/limits.ts";
import { OversizeBrake } from "../../src/net/oversize-brake.ts";
import { PauseReasons } from "../../src/net/pause-reasons.ts";

it("OversizeBrake stops reading after so many skipped bytes, until the next look at the deadlines", () => {
  const decoder = { skippedBytes: 0 };
  const pauses = new PauseReasons(() => undefined);
  const brake = new OversizeBrake({ decoder, pauses });
  for (let look = 0; look < 3; look++) {
    decoder.skippedBytes += OVERSIZE_SKIPPED_BYTES_MAX;
    brake.noteRead();
    assert.equal(pauses.isPaused, false);
    decoder.skippedBytes += 1;
    brake.noteRead();
    assert.equal(pauses.isPaused, true);
    brake.release();
    assert.equal(pauses.isPaused, false);
    brake.noteRead();
    assert.equal(pauses.isPaused, false);
  }
});
