import assert from "node:assert/strict";
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { test, type TestContext } from "node:test";
import { WebSocketServer } from "ws";
import { createInferenceDataSet } from "../../bench/data-set.ts";
import { FrameSocket } from "../../bench/scenario/frame-socket.ts";
import { OpenLoop } from "../../bench/scenario/open-loop.ts";
import { createAppendBatchHeader, readAppendBatchHeader } from "../../src/wire/append-batch-layout.ts";
import { AppendResultWriter } from "../../src/wire/append-batch-result-layout.ts";

const RATE = 1000;
const STALL_MS = 200;

/** Acknowledges every batch, but keeps all answers back for a while from the first one after `stallAtMessage` on. */
async function startServer(t: TestContext, stallAtMessage: number): Promise<FrameSocket> {
  const server = new WebSocketServer({ port: 0, host: "127.0.0.1" });
  t.after(() => server.close());
  server.on("connection", (socket) => {
    let nextSequence = 0;
    let held: Uint8Array[] | undefined;
    let hasStalled = false;
    socket.on("message", (data) => {
      const header = createAppendBatchHeader();
      readAppendBatchHeader(data as Buffer, header);
      const results = new AppendResultWriter();
      results.addSuccess(header.requestId, nextSequence);
      nextSequence += header.messageCount;
      if (nextSequence > stallAtMessage && !hasStalled) {
        hasStalled = true;
        held = [];
        setTimeout(() => {
          for (const frame of held ?? []) socket.send(frame);
          held = undefined;
        }, STALL_MS);
      }
      if (held === undefined) socket.send(results.take());
      else held.push(results.take());
    });
  });
  await once(server, "listening");
  const socket = await FrameSocket.connect(`ws://127.0.0.1:${(server.address() as AddressInfo).port}`);
  t.after(() => socket.close());
  return socket;
}

test("OpenLoop sends on during a stall, and counts it for every message that was due in it", async (t) => {
  const socket = await startServer(t, RATE / 10);
  const dataSet = createInferenceDataSet(100);
  const loop = new OpenLoop({ socket, handle: 1, nextSequence: 0, dataSet, messagesPerSecond: RATE });
  const slice = await loop.run(0.5);
  assert.equal(slice.messageCount, RATE / 2);
  assert.equal(slice.latencies.count, RATE / 2);
  // A driver that waits for answers would have one late message; here it is those of the first 150 ms of the stall.
  assert.ok(slice.over50MsCount >= 0.9 * (STALL_MS - 50), `${slice.over50MsCount} over 50 ms`);
  assert.ok(slice.latencies.percentile(100)! >= 0.9 * STALL_MS * 1000);
});

test("OpenLoop refuses an answer that does not follow from those before", async (t) => {
  const socket = await startServer(t, Infinity);
  const dataSet = createInferenceDataSet(100);
  const loop = new OpenLoop({ socket, handle: 1, nextSequence: 7, dataSet, messagesPerSecond: RATE });
  await assert.rejects(loop.run(0.1), /request 0 got sequence 0 for 7/);
});
