import path from "node:path";
import type { DataSet } from "../data-set.ts";
import { LatencyHistogram } from "../latency-histogram.ts";

import { measureCosts } from "./append-case.ts";
import { FrameArena } from "./frame-arena.ts";
import { FrameSocket, type SendingWay } from "./frame-socket.ts";
import { ServerProcess } from "./server-process.ts";
import type { RunningCase, Slice } from "./slice.ts";

const script = path.join(import.meta.dirname, "yardstick-server.js");

export interface YardstickOptions {
  readonly dataSet: DataSet;
  readonly nodeArgs: readonly string[];
}

/** What `ws` takes on this machine from the same driver in the same frames, when all it does is count them. */
export async function startSinkCase(
  options: YardstickOptions & { framesPerWrite: number; by: SendingWay },
): Promise<RunningCase> {
  const { framesPerWrite, by } = options;
  const arena = singleMessageArena(options.dataSet, framesPerWrite);
  let sentFrames = 0;
  return startYardstick("sink", options, async (socket, seconds) => {
    const startFrames = sentFrames;
    let payloadBytes = 0;
    const startMs = performance.now();
    const endMs = startMs + seconds * 1000;
    while (performance.now() < endMs) {
      const from = sentFrames % arena.frameCount;
      for (let frame = from; frame < from + framesPerWrite; frame++) {
        // The same work for each frame as when the engine is driven.
        arena.setRequestId(frame, sentFrames >>> 0);
        payloadBytes += arena.payloadBytes[frame]!;
        sentFrames += 1;
      }
      if (!socket.sendFrames(arena, { from, end: from + framesPerWrite, by })) await drained(socket);
    }
    const count = Number((await socket.request("count")).toString());
    if (count !== sentFrames) throw new Error(`the sink counted ${count} of ${sentFrames} messages`);
    return {
      elapsedS: (performance.now() - startMs) / 1000,
      messageCount: sentFrames - startFrames,
      payloadBytes,
      latencies: new LatencyHistogram(),
    };
  });
}

/** The round trip of one message of the same size through `ws` alone. */
export async function startEchoCase(options: YardstickOptions): Promise<RunningCase> {
  const arena = singleMessageArena(options.dataSet, 1);
  return startYardstick("echo", options, async (socket, seconds) => {
    const latencies = new LatencyHistogram();
    let payloadBytes = 0;
    let messageCount = 0;
    const startMs = performance.now();
    const endMs = startMs + seconds * 1000;
    await new Promise<void>((resolve, reject) => {
      let sentAtMs = startMs;
      const sendNext = (): void => {
        const frame = messageCount % arena.frameCount;
        arena.setRequestId(frame, messageCount >>> 0);
        sentAtMs = performance.now();
        socket.socket.write(arena.view(frame, frame + 1));
      };
      if (socket.failure) throw socket.failure;
      socket.onFailure = reject;
      socket.onMessage = () => {
        const nowMs = performance.now();
        latencies.add((nowMs - sentAtMs) * 1000);
        payloadBytes += arena.payloadBytes[messageCount % arena.frameCount]!;
        messageCount += 1;
        if (nowMs >= endMs) resolve();
        else sendNext();
      };
      sendNext();
    });
    return { elapsedS: (performance.now() - startMs) / 1000, messageCount, payloadBytes, latencies };
  });
}

async function startYardstick(
  behaviour: "echo" | "sink",
  { nodeArgs }: YardstickOptions,
  measure: (socket: FrameSocket, seconds: number) => Promise<Slice>,
): Promise<RunningCase> {
  const server = await ServerProcess.start({ script, args: [behaviour], nodeArgs });
  try {
    const socket = await FrameSocket.connect(`ws://${server.host}:${server.port}/`);
    return {
      measure: async (seconds) => measureCosts(server, async () => measure(socket, seconds)),
      finish: async () => {
        const rssMib = server.residentPeakMib();
        await socket.close();
        await server.stop();
        return { rssMib, bytesPerAcceptedByte: null };
      },
      abandon: async () => server.kill(),
    };
  } catch (error) {
    await server.kill();
    throw error;
  }
}

function singleMessageArena({ messages }: DataSet, framesPerWrite: number): FrameArena {
  return new FrameArena({ messages, handle: 1, batchBytes: undefined, framesPerWrite });
}

async function drained(socket: FrameSocket): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    if (socket.failure) throw socket.failure;
    socket.onFailure = reject;
    socket.socket.once("drain", resolve);
  });
}
