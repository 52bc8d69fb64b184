// Reads a stored stream again and again in a thread of its own, so that it takes no time of a thread that appends.
import { parentPort, workerData } from "node:worker_threads";
import { SUBPROTOCOL } from "../../src/client/subprotocol.ts";
import { openStream } from "./append-case.ts";
import { messageAt } from "./filled-store.ts";
import { FrameSocket } from "./frame-socket.ts";
import { ReplayReader } from "./replay-reader.ts";
import type { ReplayOrder, ReplayResult, ReplayTask } from "./replay-thread.ts";

const { url, streamName, messageCount, turn } = workerData as ReplayTask;
const port = parentPort!;
const socket = await FrameSocket.connect(url, [SUBPROTOCOL]);
const { handle } = await openStream(socket, streamName);
const reader = new ReplayReader({ socket, handle, messageAt: (sequence) => messageAt(turn, sequence) });

async function readFor({ seconds }: ReplayOrder): Promise<ReplayResult> {
  const startMs = performance.now();
  const untilMs = startMs + seconds * 1000;
  const result = { messageCount: 0, payloadBytes: 0 };
  while (performance.now() < untilMs) {
    const read = await reader.read({ from: 0, end: messageCount, untilMs });
    result.messageCount += read.messageCount;
    result.payloadBytes += read.payloadBytes;
  }
  return { ...result, elapsedS: (performance.now() - startMs) / 1000 };
}

// A read that fails ends the thread with its reason, which the owner is told by its `error` event.
port.on("message", (order: ReplayOrder) => {
  void readFor(order).then((result) => port.postMessage(result));
});
port.postMessage("ready");
