import type { MillraceError } from "../core/errors.ts";

/** One open WebSocket, whatever made it. */
export interface Socket {
  /** Sends one binary message. The bytes may still be read after the call, until the peer has answered. */
  send(frame: Uint8Array): void;
  /** Closes in order, after what was sent. */
  close(): void;
  /** Ends at once: nothing is sent any more. */
  terminate(): void;
}

export interface SocketListener {
  /** `frame` stays as it is after the call. */
  onFrame(frame: Uint8Array): void;
  /** Called once, for any end of an open socket; not when opening failed. */
  onClose(error: MillraceError): void;
}

export interface SocketOptions {
  readonly url: string;
  readonly token: string | undefined;
  readonly timeoutMs: number;
  /** PEM of the authorities to trust for wss://, instead of those the program knows. Browsers have their own. */
  readonly authorities?: string | undefined;
}

/** LZ4 blocks, without a frame or a size in front. Results may be views, never of the arguments. */
export interface BlockCodec {
  compress(raw: Uint8Array): Uint8Array;
  /** Of a block of our own making. */
  decompress(block: Uint8Array, rawBytes: number): Uint8Array;
}

/** What the client takes from its surroundings: in tests all of it is made by hand. */
export interface Environment {
  /** @throws {MillraceError} CONNECT_FAILED, UNAUTHORIZED, UNSUPPORTED_PROTOCOL */
  openSocket(options: SocketOptions, listener: SocketListener): Promise<Socket>;
  /** @throws {MillraceError} INVALID_SETTING where there is no LZ4 */
  loadLz4(): Promise<BlockCodec>;
  /** Calls back once after `delayMs`; the result cancels. */
  after(delayMs: number, callback: () => void): () => void;
  /** In [0, 1). */
  fraction(): number;
  /** An integer from 1 to 2^53 - 1 that nobody else gets. */
  uniqueId(): number;
}
