import { type IncomingMessage, STATUS_CODES } from "node:http";
import { Socket } from "node:net";
import type { Duplex } from "node:stream";
import { WebSocketServer } from "ws";
import { assert } from "../core/assert.ts";
import { WEBSOCKET_BUFFERED_CHUNKS_MAX, WEBSOCKET_FRAGMENTS_MAX } from "../core/limits.ts";
import { EventName } from "../observe/events.ts";
import type { Health } from "../observe/health.ts";
import type { Logger } from "../observe/logger.ts";
import type { Principal } from "../core/access-rights.ts";
import type { Authenticator } from "./authenticator.ts";
import type { DeadlineSweep } from "./deadline-sweep.ts";
import { refuseOverHttp } from "./http-refusal.ts";
import { TOKEN_IN_URL, hasTokenInUrl, pathOf } from "./http-service.ts";
import { peerOf } from "./peer-address.ts";
import type { PortCounters, RefusalReason } from "./port-counters.ts";
import type { PortLimits } from "./port-limits.ts";
import type { RequestGuard } from "./request-guard.ts";
import type { RequestHandler } from "./request-handler.ts";
import { bearerToken } from "./token-authenticator.ts";
import { type ConnectAnswer, WebSocketSession } from "./websocket-session.ts";

export const WEBSOCKET_PATH = "/v1/ws";
const WEBSOCKET_PROTOCOL = "millrace.v1";
/** A browser cannot set headers; it offers `millrace.v1` and, as a second protocol, this prefix with its token. */
const TOKEN_PROTOCOL_PREFIX = "millrace.token.";
/** A connection that reads a large message in small pieces holds this much of it in a piece at least. */
const CHUNK_BYTES_MIN = 1024;

export interface WebSocketServiceOptions {
  readonly guard: RequestGuard;
  readonly authenticator: Authenticator;
  readonly handler: RequestHandler;
  readonly health: Health;
  readonly sweep: DeadlineSweep;
  readonly counters: PortCounters;
  readonly limits: PortLimits;
  readonly logger: Logger;
  readonly answerConnect: (frame: Uint8Array) => ConnectAnswer;
}

/** Turns upgrade requests into sessions. Every check comes before the `101`, and a refused request leaves no state. */
export class WebSocketService {
  readonly #options: WebSocketServiceOptions;
  readonly #server: WebSocketServer;
  readonly #sessions = new Set<WebSocketSession>();

  constructor(options: WebSocketServiceOptions) {
    this.#options = options;
    const { frameBytesMax, lingerDeadlineMs } = options.limits;
    // @types/ws does not know closeTimeout yet.
    const serverOptions: ConstructorParameters<typeof WebSocketServer>[0] & { closeTimeout: number } = {
      noServer: true,
      clientTracking: false,
      // The messages are compressed where it pays, in blocks; per message it costs memory and invites bombs.
      perMessageDeflate: false,
      maxPayload: frameBytesMax,
      maxFragments: WEBSOCKET_FRAGMENTS_MAX,
      maxBufferedChunks: Math.max(WEBSOCKET_BUFFERED_CHUNKS_MAX, Math.ceil(frameBytesMax / CHUNK_BYTES_MIN)),
      closeTimeout: lingerDeadlineMs,
      handleProtocols: () => WEBSOCKET_PROTOCOL,
    };
    this.#server = new WebSocketServer(serverOptions);
  }

  get sessions(): ReadonlySet<WebSocketSession> {
    return this.#sessions;
  }

  onUpgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void {
    assert(socket instanceof Socket, "an upgraded connection is a socket");
    const { guard, health, authenticator, counters, logger } = this.#options;
    if (pathOf(request) !== WEBSOCKET_PATH) {
      this.#refuse(socket, 404);
      return;
    }
    const refusal = guard.refusal(request);
    if (refusal !== undefined) {
      this.#refuse(socket, 403, refusal);
      return;
    }
    if (hasTokenInUrl(request)) {
      this.#refuse(socket, 400, "token-in-url");
      return;
    }
    if (!health.isReady) {
      this.#refuse(socket, 503, "not-ready");
      return;
    }
    const offered = (request.headers["sec-websocket-protocol"] ?? "").split(",").map((text) => text.trim());
    if (!offered.includes(WEBSOCKET_PROTOCOL)) {
      this.#refuse(socket, 400, "subprotocol");
      return;
    }
    const verdict = authenticator.authenticate(tokenOf(request, offered));
    if (!verdict.isAccepted) {
      counters.refuse("token");
      logger.warn(EventName.AuthenticationRefused, { transport: "websocket", delayMs: verdict.delayMs });
      const timer = setTimeout(() => this.#refuse(socket, 401), verdict.delayMs);
      socket.once("close", () => {
        clearTimeout(timer);
      });
      return;
    }
    this.#open({ request, socket, head, principal: verdict.principal });
  }

  #open(upgrade: { request: IncomingMessage; socket: Socket; head: Buffer; principal: Principal }): void {
    const { request, socket, head, principal } = upgrade;
    const { handler, sweep, counters, limits, logger, answerConnect } = this.#options;
    this.#server.handleUpgrade(request, socket, head, (webSocket) => {
      const session = new WebSocketSession({
        webSocket,
        socket,
        principal,
        peer: peerOf(socket),
        handler,
        sweep,
        counters,
        limits,
        logger,
        answerConnect,
      });
      this.#sessions.add(session);
      webSocket.once("close", () => this.#sessions.delete(session));
      session.start();
    });
  }

  #refuse(socket: Socket, status: number, reason?: RefusalReason): void {
    const { counters, logger, sweep, limits } = this.#options;
    if (socket.destroyed) return;
    if (reason !== undefined) counters.refuse(reason);
    logger.debug(EventName.ConnectionRefused, { transport: "websocket", status, reason: reason ?? "path" });
    const shown = reason === "token-in-url" ? TOKEN_IN_URL : reason;
    const text = shown ?? STATUS_CODES[status] ?? "refused";
    const headers = [
      ...(status === 401 ? ["WWW-Authenticate: Bearer"] : []),
      ...(status === 503 ? ["Retry-After: 1"] : []),
    ];
    refuseOverHttp(socket, { status, text, headers }, { sweep, deadlineMs: limits.lingerDeadlineMs });
  }
}

function tokenOf(request: IncomingMessage, offeredProtocols: readonly string[]): string | undefined {
  const header = bearerToken(request.headers.authorization);
  if (header !== undefined) return header;
  const offer = offeredProtocols.find((protocol) => protocol.startsWith(TOKEN_PROTOCOL_PREFIX));
  return offer?.slice(TOKEN_PROTOCOL_PREFIX.length);
}
