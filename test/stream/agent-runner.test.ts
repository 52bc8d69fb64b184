import assert from "node:assert/strict";
import { it, type TestContext } from "node:test";
import { MessageChannel } from "node:worker_threads";
import { systemClock } from "../../src/core/clock.ts";
import { AGENT_SLICES_PER_TURN_MAX } from "../../src/core/limits.ts";
import { Doorbell } from "../../src/ring/doorbell.ts";
import { runAgent } from "../../src/stream/agent-runner.ts";
import type { StreamAgent } from "../../src/stream/stream-agent.ts";

const TURNS = 5;

/** An agent that has work in every slice, and no sync that would send it to the event loop. */
function busyAgent(slices: number): { agent: StreamAgent; done: () => number } {
  let done = 0;
  const agent = {
    get isClosed(): boolean {
      return done === slices;
    },
    isSyncing: false,
    isTrickling: false,
    doWork: (): boolean => {
      done += 1;
      return true;
    },
    hasInput: () => true,
    idleMs: () => 0,
  };
  return { agent: agent as unknown as StreamAgent, done: () => done };
}

it("runAgent returns to the event loop now and then, also when there is always work", async (t: TestContext) => {
  const { port1: port, port2 } = new MessageChannel();
  t.after(() => {
    port2.close();
  });
  const { agent, done } = busyAgent((TURNS + 1) * AGENT_SLICES_PER_TURN_MAX);
  const seen: number[] = [];
  const note = (): void => {
    seen.push(done());
    if (seen.length < TURNS) setImmediate(note);
  };
  setImmediate(note);
  await runAgent({ agent, port, doorbell: new Doorbell(), clock: systemClock });
  // What native code has made of dead memory is freed in these turns.
  assert.deepEqual(
    seen.slice(0, TURNS),
    Array.from({ length: TURNS }, (_, index) => (index + 1) * AGENT_SLICES_PER_TURN_MAX),
  );
});
