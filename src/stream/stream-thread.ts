import { Worker } from "node:worker_threads";
import { asError } from "../core/errors.ts";
import { WORKER_YOUNG_GENERATION_MIB } from "../core/thread-limits.ts";
import type { PlaceRefusal, ThreadPlace, ThreadsOptions } from "../native/thread-placement.ts";
import type { ControlReply, ControlRequest, StreamWorkerData } from "./stream-channel.ts";

/** The thread of one stream worker, as the main thread holds it. */
export interface StreamThread {
  /** A thread asleep on its doorbell sees no messages: ring it. */
  post(request: ControlRequest): void;
  /** Ends it at once. Waits for a system call that it is in. */
  terminate(): Promise<void>;
}

export interface StreamThreadEvents {
  readonly onReply: (reply: ControlReply) => void;
  /** It is gone; nothing comes after this. */
  readonly onExit: (failure: Error | undefined) => void;
}

/** Starts a stream worker somewhere: a thread of its own, or a step of a simulation. */
export type StartStreamThread = (data: StreamWorkerData, events: StreamThreadEvents) => StreamThread;

export interface PlacedWorkerData extends StreamWorkerData {
  readonly place: ThreadPlace;
}

/** What a worker says before it is an agent: what of its place it could not have. */
export interface PlacementReply {
  readonly kind: "refused-place";
  readonly refusal: PlaceRefusal;
}

export function streamThreads({ cpus, useNative, ...how }: ThreadsOptions): StartStreamThread {
  return (data, events) => {
    const place = { name: `mr-stream-${data.workerIndex}`, cpus, useNative };
    return startStreamThread({ ...data, place }, events, how);
  };
}

function startStreamThread(
  data: PlacedWorkerData,
  { onReply, onExit }: StreamThreadEvents,
  { onRefused, heapMibMax }: Pick<ThreadsOptions, "onRefused" | "heapMibMax">,
): StreamThread {
  const worker = new Worker(new URL("./stream-worker.js", import.meta.url), {
    workerData: data,
    name: `stream-${data.workerIndex}`,
    resourceLimits: {
      maxYoungGenerationSizeMb: WORKER_YOUNG_GENERATION_MIB,
      ...(heapMibMax !== undefined && { maxOldGenerationSizeMb: heapMibMax }),
    },
  });
  let failure: Error | undefined;
  worker.on("message", (reply: ControlReply | PlacementReply) => {
    if (reply.kind === "refused-place") onRefused(reply.refusal);
    else onReply(reply);
  });
  worker.on("error", (error) => (failure = asError(error)));
  worker.on("exit", () => onExit(failure));
  return {
    post: (request) => worker.postMessage(request),
    terminate: async () => {
      await worker.terminate();
    },
  };
}
