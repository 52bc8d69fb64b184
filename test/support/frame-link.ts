import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { WebSocket } from "ws";
import { SUBPROTOCOL } from "../../src/client/subprotocol.ts";
import { FRAME_BYTES_MAX_PROTOCOL } from "../../src/core/limits.ts";
import { decodeConnectResponse, encodeConnect } from "../../src/wire/connect.ts";
import { FrameDecoder, prefixFrame } from "../../src/wire/frame-decoder.ts";

/** A bare connection to an engine: frames out, frames in, nothing resent and nothing hidden. */
export interface FrameLink {
  send(frame: Uint8Array): void;
  /** Bytes that the engine has not taken yet. */
  readonly bufferedBytes: number;
  /** Stops taking what the engine sends, as a client that hangs does. */
  pause(): void;
  resume(): void;
  /** Cuts the connection. */
  destroy(): void;
  /** When it ended, however it ended. Everything that arrived was handed out before. */
  readonly closed: Promise<void>;
}

export interface LinkOptions {
  readonly port: number;
  readonly token?: string | undefined;
  /** One frame, operation first; a copy. */
  readonly onFrame: (frame: Buffer) => void;
}

/** The stream manager's own transport, with its handshake. */
export async function openTcpLink({ port, token, onFrame }: LinkOptions): Promise<FrameLink> {
  const socket = connect({ port, host: "127.0.0.1", noDelay: true });
  const closed = closing(socket);
  const decoder = new FrameDecoder({ frameBytesMax: FRAME_BYTES_MAX_PROTOCOL });
  let isGreeted = false;
  let onResponse: ((status: number) => void) | undefined;
  socket.on("data", (data) => {
    let bytes = data;
    if (!isGreeted) {
      isGreeted = true;
      bytes = data.subarray(1);
    }
    const take = (frame: Uint8Array): void => {
      if (onResponse === undefined) onFrame(Buffer.from(frame));
      else onResponse(decodeConnectResponse(frame).status);
    };
    decoder.push(bytes, take, () => undefined);
  });
  await once(socket, "connect");
  const status = new Promise<number>((resolve) => (onResponse = resolve));
  const hello = encodeConnect({
    requestId: "connect",
    protocolVersion: "1.1.0",
    otherSupportedProtocolVersions: ["1.0.0"],
    ...(token !== undefined && { authToken: token }),
  });
  socket.write(Buffer.concat([Buffer.of(1), prefixFrame(hello)]));
  const answer = await Promise.race([status, closed]);
  onResponse = undefined;
  if (answer !== 0) throw new Error(`not connected: ${answer === undefined ? "closed" : `status ${answer}`}`);
  return {
    send: (frame) => void socket.write(prefixFrame(frame)),
    get bufferedBytes() {
      return socket.writableLength;
    },
    pause: () => void socket.pause(),
    resume: () => void socket.resume(),
    destroy: () => void socket.destroy(),
    closed,
  };
}

export async function openWebSocketLink({ port, token, onFrame }: LinkOptions): Promise<FrameLink> {
  const webSocket = new WebSocket(`ws://127.0.0.1:${port}/v1/ws`, SUBPROTOCOL, {
    perMessageDeflate: false,
    ...(token !== undefined && { headers: { Authorization: `Bearer ${token}` } }),
  });
  webSocket.binaryType = "nodebuffer";
  webSocket.on("message", (data) => onFrame(data as Buffer));
  const closed = new Promise<void>((resolve) => webSocket.on("close", () => resolve()));
  const failed = new Promise<never>((_resolve, reject) => webSocket.on("error", reject));
  // After the handshake an error is followed by the close that everybody waits for.
  failed.catch(() => undefined);
  await Promise.race([once(webSocket, "open"), failed]);
  return {
    send: (frame) => webSocket.send(frame),
    get bufferedBytes() {
      return webSocket.bufferedAmount;
    },
    pause: () => webSocket.pause(),
    resume: () => webSocket.resume(),
    destroy: () => webSocket.terminate(),
    closed,
  };
}

function closing(socket: Socket): Promise<undefined> {
  socket.on("error", () => undefined);
  return new Promise((resolve) => socket.on("close", () => resolve(undefined)));
}
