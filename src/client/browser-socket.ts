import { MillraceError } from "../core/errors.ts";
import type { Socket, SocketListener, SocketOptions } from "./environment.ts";
import { SUBPROTOCOL, TOKEN_SUBPROTOCOL_PREFIX } from "./subprotocol.ts";

/** The part of the browser's WebSocket that is used here. */
interface BrowserWebSocket {
  binaryType: string;
  onopen: (() => void) | null;
  onmessage: ((event: { readonly data: unknown }) => void) | null;
  onerror: (() => void) | null;
  onclose: ((event: { readonly code: number; readonly reason: string }) => void) | null;
  send(data: Uint8Array): void;
  close(): void;
}
type BrowserWebSocketClass = new (url: string, protocols: string[]) => BrowserWebSocket;

/** @throws {MillraceError} CONNECT_FAILED: a browser does not say why, so a refused token looks the same */
export function openBrowserSocket(options: SocketOptions, listener: SocketListener): Promise<Socket> {
  const { WebSocket } = globalThis as unknown as { WebSocket: BrowserWebSocketClass };
  const protocols = [SUBPROTOCOL];
  if (options.token !== undefined) protocols.push(TOKEN_SUBPROTOCOL_PREFIX + options.token);
  const webSocket = new WebSocket(options.url, protocols);
  webSocket.binaryType = "arraybuffer";
  return new Promise((resolve, reject) => {
    let isOpen = false;
    let isClosed = false;
    const timer = setTimeout(() => webSocket.close(), options.timeoutMs);
    const close = (text: string): void => {
      clearTimeout(timer);
      if (isClosed) return;
      isClosed = true;
      if (isOpen) listener.onClose(new MillraceError("CONNECTION_CLOSED", `Connection closed: ${text}`));
      else reject(new MillraceError("CONNECT_FAILED", `Cannot connect: ${text}`));
    };
    webSocket.onopen = () => {
      clearTimeout(timer);
      isOpen = true;
      resolve({
        send: (frame) => webSocket.send(frame),
        close: () => webSocket.close(),
        // A browser has no abrupt end: the closing handshake goes on behind our back.
        terminate: () => {
          webSocket.close();
          close("terminated");
        },
      });
    };
    webSocket.onmessage = ({ data }) => {
      if (isClosed) return;
      if (data instanceof ArrayBuffer) listener.onFrame(new Uint8Array(data));
    };
    // An error tells nothing here, and a close always follows it.
    webSocket.onerror = () => undefined;
    webSocket.onclose = ({ code, reason }) => close(`${code} ${reason}`);
  });
}
