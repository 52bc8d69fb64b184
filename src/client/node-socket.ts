import type { IncomingMessage } from "node:http";
import type { Socket as TcpSocket } from "node:net";
import { WebSocket } from "ws";
import type { ClientOptions } from "ws";
import { MillraceError } from "../core/errors.ts";
import {
  FRAME_OVERHEAD_BYTES_MAX,
  MESSAGE_BYTES_MAX_DEFAULT,
  READ_REPLY_BYTES_HARD_MAX,
} from "../core/limits.ts";
import { isLoopback } from "./endpoint-url.ts";
import type { Socket, SocketListener, SocketOptions } from "./environment.ts";
import { SUBPROTOCOL } from "./subprotocol.ts";

const REASON_CHARACTERS_MAX = 200;

/** An HTTP answer instead of a WebSocket. What a later try would be told too is not worth one. */
function refusalOf(options: SocketOptions, status: number, reason: string): MillraceError {
  const isDenied = status === 401 || status === 403;
  const isFinal = status === 400 || status === 404;
  const code = isDenied ? "UNAUTHORIZED" : isFinal ? "UNSUPPORTED_PROTOCOL" : "CONNECT_FAILED";
  const text = refusalText(status, reason, options.token !== undefined);
  return new MillraceError(code, `Cannot connect to ${endpoint(options.url)}: ${text}`);
}

function refusalText(status: number, reason: string, hasToken: boolean): string {
  if (status !== 401) return `HTTP status ${status}${reason === "" ? "" : ` (${reason})`}`;
  return hasToken
    ? "the token was refused (HTTP status 401)"
    : "a token is needed and none was given (HTTP status 401)";
}

/** What an answer says, as far as it came along with its head. If nothing comes, ws ends the wait by its timeout. */
function readReason(response: IncomingMessage): Promise<string> {
  return new Promise((resolve) => {
    const settle = (text: string): void => {
      const line = text.split(/[\r\n]/, 1)[0] ?? "";
      resolve(line.replace(/[^\x20-\x7e]/g, "?").slice(0, REASON_CHARACTERS_MAX));
    };
    response.once("data", (bytes: Buffer) => {
      settle(bytes.toString("latin1"));
    });
    for (const end of ["end", "error", "close"]) response.once(end, () => settle(""));
  });
}

/** @throws {MillraceError} CONNECT_FAILED, UNAUTHORIZED, UNSUPPORTED_PROTOCOL */
export function openNodeSocket(options: SocketOptions, listener: SocketListener): Promise<Socket> {
  const webSocket = new WebSocket(options.url, SUBPROTOCOL, {
    ...(options.token !== undefined && { headers: { Authorization: `Bearer ${options.token}` } }),
    ...(isLoopback(options.url) && { generateMask: leaveZero }),
    ...(options.authorities !== undefined && { ca: options.authorities }),
    handshakeTimeout: options.timeoutMs,
    maxPayload: READ_REPLY_BYTES_HARD_MAX + MESSAGE_BYTES_MAX_DEFAULT + FRAME_OVERHEAD_BYTES_MAX,
    perMessageDeflate: false,
  } satisfies ClientOptions);
  webSocket.binaryType = "nodebuffer";
  return new Promise((resolve, reject) => {
    let lastError: Error | undefined;
    let isOpen = false;
    webSocket.on("unexpected-response", (_request, response) => {
      void readReason(response).then((reason) => {
        lastError = refusalOf(options, response.statusCode ?? 0, reason);
        webSocket.terminate();
      });
    });
    webSocket.on("error", (error) => (lastError ??= error));
    let corked: Corked | undefined;
    webSocket.on("upgrade", (response) => (corked = new Corked(response.socket)));
    webSocket.on("open", () => {
      isOpen = true;
      resolve({
        send: (frame) => {
          corked?.hold();
          webSocket.send(frame);
        },
        close: () => webSocket.close(),
        terminate: () => webSocket.terminate(),
      });
    });
    webSocket.on("message", (data) => listener.onFrame(data as Buffer));
    webSocket.on("close", (code, reason) => {
      if (!isOpen) {
        reject(connectError(options.url, lastError));
        return;
      }
      const why = reason.length > 0 ? `${code} ${reason.toString()}` : String(code);
      const text = `Connection to ${endpoint(options.url)} closed: ${lastError?.message ?? why}`;
      listener.onClose(new MillraceError("CONNECTION_CLOSED", text, { cause: lastError }));
    });
  });
}

/** Frames sent within one turn leave by one system call: small ones cost little more than their bytes. */
class Corked {
  readonly #socket: TcpSocket;
  #isHolding = false;

  constructor(socket: TcpSocket) {
    this.#socket = socket;
  }

  hold(): void {
    if (this.#isHolding) return;
    this.#isHolding = true;
    this.#socket.cork();
    queueMicrotask(() => {
      this.#isHolding = false;
      this.#socket.uncork();
    });
  }
}

function connectError(url: string, error: Error | undefined): MillraceError {
  if (error instanceof MillraceError) return error;
  const text = error?.message ?? "closed before it was open";
  return new MillraceError("CONNECT_FAILED", `Cannot connect to ${endpoint(url)}: ${text}`, { cause: error });
}

/** Host and port for messages: a URL may hold a password. */
function endpoint(url: string): string {
  if (!URL.canParse(url)) return "an invalid URL";
  const { host, pathname } = new URL(url);
  return host === "" ? (pathname.split(":")[0] ?? "") : host;
}

/**
 * A masking key of zeros, which ws then need not apply, on either side: that saves two passes over every byte. Masking (RFC 6455
 * 10.3) keeps a script of a web page from putting bytes of its choice, such as an HTTP request, in front of a proxy that does
 * not understand WebSocket. On loopback there is no proxy, and no page chooses these bytes: they come from this process.
 * Anywhere else the random key stays.
 */
function leaveZero(): void {
  // ws hands over a buffer of zeros.
}
