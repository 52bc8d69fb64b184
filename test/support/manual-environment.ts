import type { MillraceError } from "../../src/core/errors.ts";
import { systemEnvironment } from "../../src/client/system-environment.ts";
import type {
  BlockCodec,
  Environment,
  Socket,
  SocketListener,
  SocketOptions,
} from "../../src/client/environment.ts";
import type { WireEngine, WireSession } from "./wire-engine.ts";
import { connectionLost } from "./wire-engine.ts";

interface ManualTimer {
  readonly atMs: number;
  readonly callback: () => void;
}

/** One connection in memory; a frame arrives in a later microtask, as over a socket, or never once the line is cut. */
interface Line {
  readonly session: WireSession;
  isCut: boolean;
  cut(): void;
  /** Hands a frame to the client. */
  deliver(frame: Uint8Array): void;
}

/** Sockets to a WireEngine, and time that only `advance` moves. */
export class ManualEnvironment implements Environment {
  readonly #engine: WireEngine;
  readonly #fraction: () => number;
  #nowMs = 0;
  readonly #timers = new Set<ManualTimer>();
  #line: Line | undefined;
  #lastId = 0;
  connects = 0;
  readonly opened: SocketOptions[] = [];
  /** Thrown by the next attempts to connect. */
  readonly connectErrors: MillraceError[] = [];

  constructor(engine: WireEngine, fraction: () => number = () => 0.5) {
    this.#engine = engine;
    this.#fraction = fraction;
  }

  get session(): WireSession {
    if (!this.#line) throw new Error("not connected");
    return this.#line.session;
  }

  get isConnected(): boolean {
    return this.#line !== undefined;
  }

  get timerCount(): number {
    return this.#timers.size;
  }

  async loadLz4(): Promise<BlockCodec> {
    return systemEnvironment.loadLz4();
  }

  async openSocket(options: SocketOptions, listener: SocketListener): Promise<Socket> {
    await Promise.resolve();
    this.opened.push(options);
    const error = this.connectErrors.shift();
    if (error) throw error;
    this.connects++;
    const line = this.#makeLine(listener);
    this.#line = line;
    return {
      send: (frame) => {
        // A socket may read the bytes later: what it reads then must be what was sent.
        const copy = new Uint8Array(frame);
        queueMicrotask(() => {
          if (line.isCut) return;
          if (!Buffer.from(frame).equals(copy))
            throw new Error("a frame was changed before it was on its way");
          line.session.onFrame(copy);
        });
      },
      close: () => line.cut(),
      terminate: () => {
        line.isCut = true;
        line.session.close();
        if (this.#line === line) this.#line = undefined;
      },
    };
  }

  after(delayMs: number, callback: () => void): () => void {
    const timer = { atMs: this.#nowMs + delayMs, callback };
    this.#timers.add(timer);
    return () => this.#timers.delete(timer);
  }

  fraction(): number {
    return this.#fraction();
  }

  uniqueId(): number {
    return ++this.#lastId;
  }

  /** Breaks the connection: what is on its way in either direction is lost. */
  cut(): void {
    this.#line?.cut();
  }

  /** Sends the client whatever bytes a test wants. */
  sendRaw(frame: Uint8Array): void {
    this.#line?.deliver(frame);
  }

  /** Moves time on, runs what is due in order, and lets everything settle. */
  async advance(ms: number): Promise<void> {
    const endMs = this.#nowMs + ms;
    for (;;) {
      await settled();
      let next: ManualTimer | undefined;
      for (const timer of this.#timers) if (!next || timer.atMs < next.atMs) next = timer;
      if (!next || next.atMs > endMs) break;
      this.#nowMs = next.atMs;
      this.#timers.delete(next);
      next.callback();
    }
    this.#nowMs = endMs;
  }

  #makeLine(listener: SocketListener): Line {
    const line: Line = {
      isCut: false,
      session: this.#engine.connect({
        send: (frame) => line.deliver(frame),
      }),
      deliver: (frame) => {
        const copy = new Uint8Array(frame);
        queueMicrotask(() => {
          if (!line.isCut) listener.onFrame(copy);
        });
      },
      cut: () => {
        if (line.isCut) return;
        line.isCut = true;
        line.session.close();
        if (this.#line === line) this.#line = undefined;
        listener.onClose(connectionLost());
      },
    };
    return line;
  }
}

/** Resolves when every microtask that is due, and those that they start, have run. */
export function settled(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
