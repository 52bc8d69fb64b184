import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { Socket } from "node:net";
import type { Duplex } from "node:stream";
import { asMillraceError } from "../core/errors.ts";
import { EventName } from "../observe/events.ts";
import type { Health } from "../observe/health.ts";
import type { Logger } from "../observe/logger.ts";
import type { Metrics } from "../observe/metrics.ts";
import type { Authenticator } from "./authenticator.ts";
import type { PortCounters } from "./port-counters.ts";
import type { PortLimits } from "./port-limits.ts";
import type { RequestGuard } from "./request-guard.ts";
import { bearerToken } from "./token-store.ts";

/** How often Node looks for requests over their deadlines. */
const CHECKING_INTERVAL_MS_MAX = 1000;
const KEEP_ALIVE_MS = 5000;

export interface HttpServiceOptions {
  readonly guard: RequestGuard;
  readonly authenticator: Authenticator;
  readonly health: Health;
  readonly metrics: Metrics;
  readonly counters: PortCounters;
  readonly limits: PortLimits;
  readonly logger: Logger;
  /** Takes over a connection that asks to be upgraded, checks included. */
  readonly onUpgrade: (request: IncomingMessage, socket: Duplex, head: Buffer) => void;
}

/** HTTP/1.1 on sockets that the port hands over: health, readiness, metrics, and the door to WebSocket. */
export class HttpService {
  readonly #options: HttpServiceOptions;
  readonly #server: Server;
  readonly #answers = new Map<string, (request: IncomingMessage, response: ServerResponse) => void>([
    ["/healthz", (_, response) => sendJson(response, 200, { status: "alive" })],
    ["/readyz", (_, response) => this.#sendReadiness(response)],
    ["/metrics", (request, response) => this.#authorizeMetrics(request, response)],
  ]);

  constructor(options: HttpServiceOptions) {
    this.#options = options;
    const { headersDeadlineMs, requestDeadlineMs } = options.limits;
    this.#server = createServer(
      {
        headersTimeout: headersDeadlineMs,
        requestTimeout: requestDeadlineMs,
        connectionsCheckingInterval: Math.min(CHECKING_INTERVAL_MS_MAX, headersDeadlineMs),
        keepAliveTimeout: KEEP_ALIVE_MS,
        noDelay: true,
      },
      (request, response) => {
        this.#onRequest(request, response);
      },
    );
    this.#server.on("upgrade", options.onUpgrade);
    // This server never listens, it is given sockets; this event is what starts its watch over slow requests.
    this.#server.emit("listening");
  }

  /** `socket` holds its first bytes again, unread. */
  accept(socket: Socket): void {
    const counters = this.#options.counters.http;
    counters.accepted += 1;
    counters.open += 1;
    socket.once("close", () => (counters.open -= 1));
    this.#server.emit("connection", socket);
  }

  /** Ends idle connections; busy ones end with their response. */
  close(): void {
    // The callback reports that the server never listened, which is as it should be.
    this.#server.close(() => undefined);
  }

  #onRequest(request: IncomingMessage, response: ServerResponse): void {
    const refusal = this.#options.guard.refusal(request);
    if (refusal !== undefined) {
      this.#options.counters.refuse(refusal);
      this.#options.logger.debug(EventName.ConnectionRefused, { transport: "http", reason: refusal });
      sendText(response, 403, `${refusal} not allowed`);
      return;
    }
    const answer = this.#answers.get(pathOf(request));
    if (answer === undefined) sendText(response, 404, "not found");
    else if (request.method !== "GET" && request.method !== "HEAD") refuseMethod(response);
    else answer(request, response);
  }

  #sendReadiness(response: ServerResponse): void {
    const { state, reasons } = this.#options.health.snapshot();
    sendJson(response, state === "ready" ? 200 : 503, { status: state, degraded: reasons });
  }

  #authorizeMetrics(request: IncomingMessage, response: ServerResponse): void {
    const verdict = this.#options.authenticator.authenticate(bearerToken(request.headers.authorization));
    if (verdict.isAccepted) {
      void this.#sendMetrics(response);
      return;
    }
    this.#options.counters.refuse("token");
    this.#options.logger.warn(EventName.AuthenticationRefused, {
      transport: "http",
      delayMs: verdict.delayMs,
    });
    const timer = setTimeout(() => {
      response.setHeader("WWW-Authenticate", "Bearer");
      sendText(response, 401, "a token is needed: Authorization: Bearer <token>");
    }, verdict.delayMs);
    response.once("close", () => {
      clearTimeout(timer);
    });
  }

  async #sendMetrics(response: ServerResponse): Promise<void> {
    try {
      const page = await this.#options.metrics.render();
      response.writeHead(200, { "Content-Type": page.contentType, "Cache-Control": "no-store" });
      response.end(page.body);
    } catch (thrown) {
      this.#options.logger.error(EventName.RequestFailed, { operation: "metrics" }, thrown);
      if (response.headersSent) response.destroy();
      else sendText(response, 500, asMillraceError(thrown).code);
    }
  }
}

/** The path of a request without its query; the query is neither used nor logged. */
export function pathOf(request: IncomingMessage): string {
  const url = request.url ?? "/";
  const end = url.indexOf("?");
  return end < 0 ? url : url.slice(0, end);
}

function refuseMethod(response: ServerResponse): void {
  response.setHeader("Allow", "GET, HEAD");
  sendText(response, 405, "method not allowed");
}

function sendJson(response: ServerResponse, status: number, value: unknown): void {
  response.writeHead(status, { "Content-Type": "application/json", "Cache-Control": "no-store" });
  response.end(`${JSON.stringify(value)}\n`);
}

/** A refusal: the connection ends with it, whatever body the request still has. */
function sendText(response: ServerResponse, status: number, text: string): void {
  response.writeHead(status, {
    "Content-Type": "text/plain; charset=utf-8",
    "Cache-Control": "no-store",
    Connection: "close",
  });
  response.end(`${text}\n`);
}
