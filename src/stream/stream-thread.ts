import { Worker } from "node:worker_threads";
import { asError } from "../core/errors.ts";
import { WORKER_YOUNG_GENERATION_MIB } from "../core/thread-limits.ts";
import type { PlaceRefusal, ThreadPlace } from "../native/thread-placement.ts";
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

/** Where the threads of stream workers run, all of them alike. */
export interface StreamThreadsOptions {
  readonly cpus: ThreadPlace["cpus"];
  readonly useNative: boolean;
  /** Of its old objects; V8 decides if undefined. */
  readonly heapMibMax: number | undefined;
  readonly onRefused: (refusal: PlaceRefusal) => void;
}

export interface PlacedWorkerData extends StreamWorkerData {
  readonly place: ThreadPlace;
}

/** What a worker says before it is an agent: what of its place it could not have. */
export interface PlacementReply {
  readonly kind: "refused-place";
  readonly refusal: PlaceRefusal;
}

export function streamThreads({ onRefused, heapMibMax, ...place }: StreamThreadsOptions): StartStreamThread {
  return (data, events) => {
    const name = `mr-stream-${data.workerIndex}`;
    return startStreamThread({ ...data, place: { name, ...place } }, { ...events, heapMibMax, onRefused });
  };
}

function startStreamThread(
  data: PlacedWorkerData,
  events: StreamThreadEvents & Pick<StreamThreadsOptions, "onRefused" | "heapMibMax">,
): StreamThread {
  const { heapMibMax } = events;
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
    if (reply.kind === "refused-place") events.onRefused(reply.refusal);
    else events.onReply(reply);
  });
  worker.on("error", (error) => (failure = asError(error)));
  worker.on("exit", () => events.onExit(failure));
  return {
    post: (request) => worker.postMessage(request),
    terminate: async () => {
      await worker.terminate();
    },
  };
}
