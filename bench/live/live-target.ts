import { SUBPROTOCOL } from "../../src/client/subprotocol.ts";
import { Persistence } from "../../src/core/stream-definition.ts";
import {
  decodeDeleteMessageStreamResponse,
  encodeDeleteMessageStream,
} from "../../src/wire/delete-message-stream.ts";
import { createStream, measureCosts } from "../scenario/append-case.ts";
import { FrameSocket } from "../scenario/frame-socket.ts";
import { statusMib } from "../scenario/process-stats.ts";
import type { CostedSlice, Slice } from "../scenario/slice.ts";

const MIB = 1024 * 1024;
/** What a bench may leave in the store while it runs; the oldest segments make room. */
const STREAM_BYTES_MAX = 256 * MIB;

export interface LiveTargetOptions {
  /** Of the engine's WebSocket, path included. */
  readonly url: string;
  readonly token?: string;
  readonly authorities?: string;
  /** The engine's process on this machine, whose CPU time and memory are then measured as well. */
  readonly enginePid?: number;
  /** Part of the names of its streams, so that two runs do not meet. */
  readonly runId: string;
}

/** A running engine that is not ours: all that is left behind are streams that were not deleted, and none is. */
export class LiveTarget {
  readonly enginePid: number | undefined;
  readonly #options: LiveTargetOptions;
  readonly #control: FrameSocket;
  readonly #sockets: FrameSocket[] = [];
  #interruption: Error | undefined;

  private constructor(control: FrameSocket, options: LiveTargetOptions) {
    this.#control = control;
    this.#options = options;
    this.enginePid = options.enginePid;
  }

  /** @throws Error when the engine cannot be reached, or refuses */
  static async connect(options: LiveTargetOptions): Promise<LiveTarget> {
    return new LiveTarget(await openSocket(options), options);
  }

  /** Whatever is measured fails with `error`; streams are still deleted. */
  interrupt(error: Error): void {
    this.#interruption = error;
    for (const socket of this.#sockets) socket.interrupt(error);
  }

  /** Gives `use` an empty stream and a way to make connections. Both are gone afterwards, also after a failure. */
  async withStream<T>(
    use: (stream: { readonly name: string; readonly connect: () => Promise<FrameSocket> }) => Promise<T>,
  ): Promise<T> {
    this.#throwIfInterrupted();
    const name = `millrace-bench-${this.#options.runId}`;
    const file = { persistence: Persistence.File, flushOnWrite: false };
    await createStream(this.#control, { ...file, name, maxSize: STREAM_BYTES_MAX });
    let result: T;
    try {
      result = await use({ name, connect: async () => this.#connect() });
    } catch (error) {
      await this.#endStream(name).catch((cause: unknown) => {
        throw new Error(`the stream "${name}" is left behind: ${String(cause)}`, { cause: error });
      });
      throw error;
    }
    await this.#endStream(name);
    return result;
  }

  /** What `measure` costs this process, and the engine where its process is known; 0 otherwise. */
  async measure<T extends Slice>(measure: () => Promise<T>): Promise<T & CostedSlice> {
    if (this.enginePid !== undefined) return measureCosts({ pid: this.enginePid }, measure);
    const start = process.cpuUsage();
    const slice = await measure();
    const { user, system } = process.cpuUsage(start);
    const driverCpuS = (user + system) / 1e6;
    return { ...slice, driverCpuS, serverCpuS: 0, threads: new Map(), writtenBytes: undefined };
  }

  /** Of the engine's process. */
  residentMib(): number | undefined {
    return this.enginePid === undefined ? undefined : statusMib(this.enginePid, "VmRSS");
  }

  async close(): Promise<void> {
    await this.#control.close();
  }

  async #connect(): Promise<FrameSocket> {
    this.#throwIfInterrupted();
    const socket = await openSocket(this.#options);
    this.#sockets.push(socket);
    // The interruption may have come meanwhile.
    if (this.#interruption) socket.interrupt(this.#interruption);
    return socket;
  }

  async #endStream(name: string): Promise<void> {
    for (const socket of this.#sockets.splice(0)) if (!socket.failure) await socket.close();
    const reply = await this.#control.request(encodeDeleteMessageStream({ requestId: "delete", name }));
    const { status, errorMessage } = decodeDeleteMessageStreamResponse(reply);
    if (status !== 0)
      throw new Error(`cannot delete the stream "${name}": status ${status}, ${errorMessage}`);
  }

  #throwIfInterrupted(): void {
    if (this.#interruption) throw this.#interruption;
  }
}

async function openSocket({ url, token, authorities }: LiveTargetOptions): Promise<FrameSocket> {
  return FrameSocket.connect(url, [SUBPROTOCOL], {
    ...(token !== undefined && { token }),
    ...(authorities !== undefined && { authorities }),
  });
}
