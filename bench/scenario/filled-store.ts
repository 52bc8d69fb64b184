import { SUBPROTOCOL } from "../../src/client/subprotocol.ts";
import { Persistence } from "../../src/core/stream-definition.ts";
import type { DataSet } from "../data-set.ts";
import {
  checkNewest,
  createStream,
  describeStream,
  engineScript,
  openStream,
  startServer,
  webSocketUrl,
} from "./append-case.ts";
import { AppendPipeline } from "./append-pipeline.ts";
import { FrameArena } from "./frame-arena.ts";
import { FrameSocket } from "./frame-socket.ts";

const BATCH_BYTES = 64 * 1024;
const FRAMES_IN_FLIGHT = 16;
/** Between two looks at whether there is enough. */
const FILL_S = 0.02;

/** What a stream was filled with. */
export interface Stored {
  readonly messageCount: number;
  readonly payloadBytes: number;
  /** Its messages, again and again. */
  readonly turn: readonly Uint8Array[];
}

/** The message that must stand at a sequence number. */
export function messageAt(turn: readonly Uint8Array[], sequence: number): Uint8Array {
  return turn[sequence % turn.length]!;
}

/** Makes a store with a stream of at least so many messages. */
export async function fillStore(
  storeDirectory: string,
  options: { readonly messagesMin: number; readonly dataSet: DataSet },
): Promise<Stored> {
  const server = await startServer(storeDirectory, { engineScript, nodeArgs: [] });
  try {
    const socket = await FrameSocket.connect(webSocketUrl(server), [SUBPROTOCOL]);
    await createStream(socket, { persistence: Persistence.File, flushOnWrite: false });
    const stored = await fillStream(socket, options);
    await socket.close();
    await server.stop();
    return stored;
  } finally {
    await server.kill();
  }
}

/** Appends at least so many messages to an empty stream. */
export async function fillStream(
  socket: FrameSocket,
  {
    messagesMin,
    dataSet: { messages },
    name,
  }: { readonly messagesMin: number; readonly dataSet: DataSet; readonly name?: string },
): Promise<Stored> {
  const { handle, nextSequence } = await openStream(socket, name);
  const arena = new FrameArena({ messages, handle, batchBytes: BATCH_BYTES, framesPerWrite: 1 });
  const pipeline = new AppendPipeline({
    socket,
    arena,
    framesInFlightMax: Math.min(FRAMES_IN_FLIGHT, arena.frameCount - 1),
    framesPerWrite: 1,
    by: "ready bytes",
    nextSequence,
  });
  while (pipeline.acknowledgedMessages < messagesMin) await pipeline.run(FILL_S);
  checkNewest(await describeStream(socket, name), pipeline.acknowledgedMessages);
  const turnMessages = arena.messageCounts.reduce((sum, count) => sum + count, 0);
  return {
    messageCount: pipeline.acknowledgedMessages,
    payloadBytes: pipeline.acknowledgedBytes,
    turn: messages.slice(0, turnMessages),
  };
}
