import { checkNewest, describeStream, openStream, type BenchEngine } from "./append-case.ts";
import type { DataSet } from "../data-set.ts";
import { LatencyHistogram } from "../latency-histogram.ts";
import { AppendPipeline } from "./append-pipeline.ts";
import { FrameArena } from "./frame-arena.ts";
import type { FrameSocket } from "./frame-socket.ts";
import type { Slice } from "./slice.ts";

/** Connections that append to one stream beside each other. Together they must have every number of it. */
export class SharedLoad {
  readonly #sockets: readonly FrameSocket[];
  readonly #pipelines: readonly AppendPipeline[];

  private constructor(sockets: readonly FrameSocket[], pipelines: readonly AppendPipeline[]) {
    this.#sockets = sockets;
    this.#pipelines = pipelines;
  }

  /** The stream must be empty. */
  static async start(
    engine: BenchEngine,
    options: {
      readonly connections: number;
      readonly dataSet: DataSet;
      readonly batchBytes: number;
      readonly framesInFlightEach: number;
    },
  ): Promise<SharedLoad> {
    const { connections, dataSet, batchBytes, framesInFlightEach } = options;
    const sockets: FrameSocket[] = [];
    const pipelines: AppendPipeline[] = [];
    for (let index = 0; index < connections; index++) {
      const socket = await engine.connect();
      const { handle, nextSequence } = await openStream(socket);
      // Each its own, as request ids are written into the frames, and of other messages, as what repeats compresses.
      const messages = someBatches(dataSet.messages, {
        batchBytes,
        frames: framesInFlightEach + 1,
        share: index / connections,
      });
      const arena = new FrameArena({ messages, handle, batchBytes, framesPerWrite: 1 });
      sockets.push(socket);
      pipelines.push(
        new AppendPipeline({
          socket,
          arena,
          framesInFlightMax: framesInFlightEach,
          framesPerWrite: 1,
          by: "ready bytes",
          nextSequence,
          isSharedStream: true,
        }),
      );
    }
    return new SharedLoad(sockets, pipelines);
  }

  async run(seconds: number): Promise<Slice> {
    const latencies = new LatencyHistogram();
    const startMs = performance.now();
    const slices = await Promise.all(
      this.#pipelines.map(async (pipeline) => pipeline.run(seconds, latencies)),
    );
    return {
      elapsedS: (performance.now() - startMs) / 1000,
      messageCount: slices.reduce((sum, { messageCount }) => sum + messageCount, 0),
      payloadBytes: slices.reduce((sum, { payloadBytes }) => sum + payloadBytes, 0),
      latencies,
    };
  }

  get acknowledgedMessages(): number {
    return this.#pipelines.reduce((sum, { acknowledgedMessages }) => sum + acknowledgedMessages, 0);
  }

  /** Checks that the stream ends with what was acknowledged to all, and closes the connections. */
  async finish(): Promise<Awaited<ReturnType<typeof describeStream>>> {
    const info = await describeStream(this.#sockets[0]!);
    checkNewest(info, this.acknowledgedMessages);
    for (const socket of this.#sockets) await socket.close();
    return info;
  }
}

/** As many messages as so many frames take, and a little more, from that share of all on. */
function someBatches(
  messages: readonly Uint8Array[],
  {
    batchBytes,
    frames,
    share,
  }: { readonly batchBytes: number; readonly frames: number; readonly share: number },
): readonly Uint8Array[] {
  // A frame may end early by the length of its next message, hence one frame more.
  const wanted = (frames + 1) * batchBytes;
  const from = Math.floor(messages.length * share);
  const turned = [...messages.slice(from), ...messages.slice(0, from)];
  let bytes = 0;
  const count = turned.findIndex((message) => (bytes += message.length) >= wanted);
  return count < 0 ? turned : turned.slice(0, count + 1);
}
