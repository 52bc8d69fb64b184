import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { AccessRights } from "../../src/core/access-rights.ts";
import { FORBIDDEN_PAUSE_MS, FORBIDDEN_REQUESTS_PER_PAUSE } from "../../src/core/limits.ts";
import type { ClientSession } from "../../src/engine/client-session.ts";
import { ClientState } from "../../src/engine/client-state.ts";

interface Timer {
  readonly action: () => void;
  readonly delayMs: number;
}

function open(): { client: ClientState; pauses: Set<string>; timers: Set<Timer> } {
  const pauses = new Set<string>();
  const timers = new Set<Timer>();
  const rights = new AccessRights({ append: ["mine"], read: [], manage: [], metrics: false });
  const session = {
    principal: { name: "camera", rights },
    pause: (reason: string) => pauses.add(reason),
    resume: (reason: string) => pauses.delete(reason),
  } as unknown as ClientSession;
  const setTimer = (action: () => void, delayMs: number): (() => void) => {
    const timer = { action, delayMs };
    timers.add(timer);
    return () => timers.delete(timer);
  };
  return { client: new ClientState(session, { inFlightBytesMax: 1, timers: { setTimer } }), pauses, timers };
}

function ask(client: ClientState, count: number): void {
  for (let index = 0; index < count; index++) {
    assert.throws(() => client.assertAllowed("append", "theirs"), { code: "UNAUTHORIZED" });
  }
}

describe("a connection that asks for what it may not have", () => {
  it("is not read for a moment after each so many requests, and then as before", () => {
    const { client, pauses, timers } = open();
    for (let round = 0; round < 2; round++) {
      ask(client, FORBIDDEN_REQUESTS_PER_PAUSE - 1);
      assert.deepEqual([...pauses], []);
      // What had come with the last one is still answered.
      ask(client, 10);
      assert.deepEqual([...pauses], ["forbidden"]);
      const [timer, ...others] = [...timers];
      assert.deepEqual([timer!.delayMs, others.length], [FORBIDDEN_PAUSE_MS, 0]);
      timers.clear();
      timer!.action();
      assert.deepEqual([...pauses], []);
    }
  });

  it("is read on where it asks for what it may have, and leaves no timer when it ends", () => {
    const { client, pauses, timers } = open();
    for (let count = 0; count < 10 * FORBIDDEN_REQUESTS_PER_PAUSE; count++)
      client.assertAllowed("append", "mine");
    assert.deepEqual([pauses.size, timers.size], [0, 0]);
    ask(client, FORBIDDEN_REQUESTS_PER_PAUSE);
    assert.equal(timers.size, 1);
    client.close();
    assert.equal(timers.size, 0);
  });
});
