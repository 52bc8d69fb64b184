import assert from "node:assert/strict";
import { test } from "node:test";
import { createInferenceDataSet } from "../../bench/data-set.ts";
import { AppendPipeline } from "../../bench/scenario/append-pipeline.ts";
import { FrameArena } from "../../bench/scenario/frame-arena.ts";
import { AppendResultWriter } from "../../src/wire/append-batch-result-layout.ts";

const STALL_MS = 200;
const FRAMES_PER_SECOND = 1000;

/** Answers each frame at once, the first one late. */
function stallingSocket() {
  const results = new AppendResultWriter();
  let sent = 0;
  const socket = {
    failure: undefined,
    onFailure: (() => undefined) as (error: Error) => void,
    onMessage: (() => undefined) as (data: Buffer) => void,
    sendFrames: (): boolean => {
      const sequence = sent++;
      const answer = (): void => {
        results.addSuccess(sequence, sequence);
        socket.onMessage(Buffer.from(results.take()));
      };
      if (sequence === 0) setTimeout(answer, STALL_MS);
      else setImmediate(answer);
      return true;
    },
  };
  return socket;
}

test("AppendPipeline with a rate counts from when a frame was due: one late answer shows in all that it held up", async () => {
  const { messages } = createInferenceDataSet(64);
  const arena = new FrameArena({ messages, handle: 1, batchBytes: undefined, framesPerWrite: 1 });
  const socket = stallingSocket();
  const window = { framesInFlightMax: 1, framesPerWrite: 1, by: "ready bytes", nextSequence: 0 } as const;
  const pipeline = new AppendPipeline({ socket, arena, ...window, framesPerSecondMax: FRAMES_PER_SECOND });
  const { latencies, messageCount } = await pipeline.run((STALL_MS * 1.2) / 1000);
  assert.ok(messageCount >= 1);
  // More than half of the frames were due in the stall.
  const heldUpUs = latencies.percentile(50) ?? 0;
  assert.ok(heldUpUs > (STALL_MS / 4) * 1000, `${messageCount} frames, p50 ${heldUpUs} us`);
});
