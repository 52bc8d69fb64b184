import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import path from "node:path";
import { setTimeout as after } from "node:timers/promises";

const TRIES_MAX = 500;
const POLL_MS = 20;

/** Waits for the engine to have made its ballast, which it does at its start, in small steps of its main thread. */
export async function untilBallast(home: string): Promise<void> {
  const ballast = path.join(home, "store", "ballast");
  for (let tries = 0; !existsSync(ballast); tries++) {
    assert.ok(tries < TRIES_MAX, "no ballast was made");
    await after(POLL_MS);
  }
}
