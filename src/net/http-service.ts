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
import { bearerToken } from "./token-authenticator.ts";

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
    closeToOthers(response);
    const refusal = this.#options.guard.refusal(request);
    if (refusal !== undefined) {
      this.#options.counters.refuse(refusal);
      this.#options.logger.debug(EventName.ConnectionRefused, { transport: "http", reason: refusal });
      sendText(response, 403, `${refusal} not allowed`);
      return;
    }
    if (hasTokenInUrl(request)) {
      this.#options.counters.refuse("token-in-url");
      sendText(response, 400, TOKEN_IN_URL);
      return;
    }
    const { origin } = request.headers;
    if (origin !== undefined) response.setHeader("Access-Control-Allow-Origin", origin);
    const answer = this.#answers.get(pathOf(request));
    if (answer === undefined) sendText(response, 404, "not found");
    else if (isPreflight(request)) sendPermission(response);
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
      if (verdict.principal.rights.mayReadMetrics) void this.#sendMetrics(response);
      else this.#forbid(response, `token "${verdict.principal.name}" may not read metrics`);
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

  #forbid(response: ServerResponse, text: string): void {
    this.#options.counters.refuse("permission");
    this.#options.logger.debug(EventName.ConnectionRefused, { transport: "http", reason: text });
    sendText(response, 403, text);
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

/** Told to whoever puts a token where proxies, histories and logs keep it. */
export const TOKEN_IN_URL =
  "a token does not belong in a URL, where logs and histories keep it: send Authorization: Bearer <token>, or the subprotocol millrace.token.<token>";

/** Whether the query looks as if it held a token. Taking no notice would leave the sender in the belief that it works like this. */
export function hasTokenInUrl(request: IncomingMessage): boolean {
  const url = request.url ?? "/";
  const at = url.indexOf("?");
  return at >= 0 && /token|auth|bearer|secret/i.test(url.slice(at));
}

/** What pages of other origins may not read they may not embed either, nor take for a script. */
function closeToOthers(response: ServerResponse): void {
  response.setHeader("Cross-Origin-Resource-Policy", "same-origin");
  response.setHeader("X-Content-Type-Options", "nosniff");
  response.setHeader("Vary", "Origin");
}

/** What a browser asks before it sends the header with the token. */
function isPreflight({ method, headers }: IncomingMessage): boolean {
  return (
    method === "OPTIONS" &&
    headers.origin !== undefined &&
    headers["access-control-request-method"] !== undefined
  );
}

function sendPermission(response: ServerResponse): void {
  response.setHeader("Access-Control-Allow-Methods", "GET, HEAD");
  response.setHeader("Access-Control-Allow-Headers", "Authorization");
  response.writeHead(204).end();
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
