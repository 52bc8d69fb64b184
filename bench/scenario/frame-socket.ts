import { once } from "node:events";
import type { IncomingMessage } from "node:http";
import type { Socket } from "node:net";
import { WebSocket } from "ws";
import type { FrameArena } from "./frame-arena.ts";

/** How frames reach the socket. Ready bytes cost the driver next to nothing; `ws` costs what it costs a real client. */
export type SendingWay = "ready bytes" | "ws";

const REPLY_DEADLINE_MS = 30_000;

/**
 * A WebSocket connection of `ws` whose socket may also be written to directly with frames that are encoded already. Both
 * may be mixed: whole frames go out either way.
 */
export class FrameSocket {
  readonly socket: Socket;
  /** Takes each message. */
  onMessage: (data: Buffer) => void = () => undefined;
  /** Told once when the connection fails or ends before `close`. */
  onFailure: (error: Error) => void = () => undefined;
  readonly #webSocket: WebSocket;
  #failure: Error | undefined;
  #isClosing = false;

  private constructor(webSocket: WebSocket, socket: Socket) {
    this.#webSocket = webSocket;
    this.socket = socket;
    webSocket.on("message", (data) => this.onMessage(data as Buffer));
    webSocket.on("error", (error) => this.#fail(error));
    webSocket.on("close", (code, reason) =>
      this.#fail(new Error(`the connection ended: ${code} ${reason.toString()}`)),
    );
  }

  static async connect(
    url: string,
    protocols: readonly string[] = [],
    { token, authorities }: { readonly token?: string; readonly authorities?: string } = {},
  ): Promise<FrameSocket> {
    const webSocket = new WebSocket(url, [...protocols], {
      ...(token !== undefined && { headers: { Authorization: `Bearer ${token}` } }),
      ...(authorities !== undefined && { ca: authorities }),
      handshakeTimeout: REPLY_DEADLINE_MS,
      perMessageDeflate: false,
      // The key stays zero: the masking step is skipped on both sides, as a client in the same machine would choose.
      generateMask: () => undefined,
    });
    const [upgraded] = await Promise.all([once(webSocket, "upgrade"), once(webSocket, "open")]);
    const [response] = upgraded as [IncomingMessage];
    return new FrameSocket(webSocket, response.socket);
  }

  /** Why the connection is of no more use. */
  get failure(): Error | undefined {
    return this.#failure;
  }

  /** Sends frames `from` to `end - 1` as ready bytes in one write, or each by `ws` as a program would. @returns false to wait for `drain` */
  sendFrames(arena: FrameArena, range: { from: number; end: number; by: SendingWay }): boolean {
    const { from, end, by } = range;
    if (by === "ready bytes") return this.socket.write(arena.view(from, end));
    for (let frame = from; frame < end; frame++) this.#webSocket.send(arena.message(frame));
    return !this.socket.writableNeedDrain;
  }

  send(frame: Uint8Array | string): void {
    this.#webSocket.send(frame);
  }

  /** Sends `frame` and gives the next message, which must be the only one that is awaited. */
  async request(frame: Uint8Array | string): Promise<Buffer> {
    if (this.#failure) throw this.#failure;
    const before = { onMessage: this.onMessage, onFailure: this.onFailure };
    let timer: NodeJS.Timeout | undefined;
    try {
      return await new Promise<Buffer>((resolve, reject) => {
        timer = setTimeout(
          () => reject(new Error(`no reply within ${REPLY_DEADLINE_MS} ms`)),
          REPLY_DEADLINE_MS,
        );
        this.onMessage = resolve;
        this.onFailure = reject;
        this.send(frame);
      });
    } finally {
      clearTimeout(timer);
      Object.assign(this, before);
    }
  }

  /** Ends the connection at once; whoever waits for it is told `error`. */
  interrupt(error: Error): void {
    this.#fail(error);
    this.#webSocket.terminate();
  }

  async close(): Promise<void> {
    if (this.#webSocket.readyState === WebSocket.CLOSED) return;
    this.#isClosing = true;
    const closed = once(this.#webSocket, "close");
    this.#webSocket.close();
    await closed;
  }

  #fail(error: Error): void {
    if (this.#isClosing || this.#failure) return;
    this.#failure = error;
    this.onFailure(error);
  }
}
