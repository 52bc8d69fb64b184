import assert from "node:assert/strict";
import { it, type TestContext } from "node:test";
import { MessageChannel } from "node:worker_threads";
import { systemClock } from "../../src/core/clock.ts";
import { UNPACKED_BYTES_PER_TURN_MAX } from "../../src/core/compression-limits.ts";
import { AGENT_SLICES_PER_TURN_MAX } from "../../src/core/limits.ts";
import { Doorbell } from "../../src/ring/doorbell.ts";
import { runAgent } from "../../src/stream/agent-runner.ts";
import type { StreamAgent } from "../../src/stream/stream-agent.ts";

const TURNS = 5;

/** An agent that has work in every slice, and no sync that would send it to the event loop. */
function busyAgent(slices: number, unpackedPerSlice = 0): { agent: StreamAgent; done: () => number } {
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
    takeUnpackedBytes: () => unpackedPerSlice,
  };
  return { agent: agent as unknown as StreamAgent, done: () => done };
}

/** After how many slices the event loop turned, each time. */
async function turnsOf(
  t: TestContext,
  { agent, done }: { agent: StreamAgent; done: () => number },
): Promise<number[]> {
  const { port1: port, port2 } = new MessageChannel();
  t.after(() => {
    port2.close();
  });
  const seen: number[] = [];
  const note = (): void => {
    seen.push(done());
    if (seen.length < TURNS) setImmediate(note);
  };
  setImmediate(note);
  await runAgent({ agent, port, doorbell: new Doorbell(), clock: systemClock });
  return seen.slice(0, TURNS);
}

it("runAgent returns to the event loop now and then, also when there is always work", async (t: TestContext) => {
  const turns = await turnsOf(t, busyAgent((TURNS + 1) * AGENT_SLICES_PER_TURN_MAX));
  // What native code has made of dead memory is freed in these turns.
  assert.deepEqual(
    turns,
    Array.from({ length: TURNS }, (_, index) => (index + 1) * AGENT_SLICES_PER_TURN_MAX),
  );
});

it("runAgent returns to the event loop sooner when compressed batches are unpacked", async (t: TestContext) => {
  const turns = await turnsOf(t, busyAgent((TURNS + 1) * 3, UNPACKED_BYTES_PER_TURN_MAX / 3 + 1));
  assert.deepEqual(turns, [3, 6, 9, 12, 15]);
});
