import { type AddressInfo, createServer, type Server, type Socket } from "node:net";
import { assert } from "../core/assert.ts";
import type { Clock } from "../core/clock.ts";
import { MillraceError, systemCode } from "../core/errors.ts";
import type { MetricSample } from "../observe/counters.ts";
import { EventName } from "../observe/events.ts";
import type { Health } from "../observe/health.ts";
import type { Logger } from "../observe/logger.ts";
import type { Metrics } from "../observe/metrics.ts";
import { CONNECT_VERSION } from "../wire/connect.ts";
import type { Authenticator } from "./authenticator.ts";
import { encodeConnectRefusal, encodeConnectSuccess, readConnect } from "./connect-handshake.ts";
import { DeadlineSweep, type Watched } from "./deadline-sweep.ts";
import { HttpService } from "./http-service.ts";
import { PortCounters, type RefusalReason } from "./port-counters.ts";
import { type PortLimits, portLimitsDefault } from "./port-limits.ts";
import { RequestGuard } from "./request-guard.ts";
import type { RequestHandler } from "./request-handler.ts";
import { TcpSession } from "./tcp-session.ts";
import { WebSocketService } from "./websocket-service.ts";
import type { ConnectAnswer } from "./websocket-session.ts";

/** RELIABILITY 56: a peer that is gone without a word is found by the kernel's own probes. */
const KEEP_ALIVE_DELAY_MS = 30_000;
const TLS_HANDSHAKE = 0x16;

export interface PortOptions {
  readonly host: string;
  /** 0 takes any free port. */
  readonly port: number;
  readonly handler: RequestHandler;
  readonly authenticator: Authenticator;
  readonly health: Health;
  readonly metrics: Metrics;
  readonly logger: Logger;
  readonly clock: Clock;
  readonly limits?: Partial<PortLimits>;
  /** Names in `Host` beside localhost and its addresses, without port; and the only values that `Origin` may have. */
  readonly allowedHosts: readonly string[];
  readonly allowedOrigins: readonly string[];
  readonly serverVersion: string;
  /** Sets TCP_QUICKACK, which the official Node.js client's two small writes per request need. */
  readonly acknowledgeNow?: (socket: Socket) => void;
}

/** An open port. */
export interface Port {
  readonly address: string;
  readonly port: number;
  readonly connectionCount: number;
  readonly counters: PortCounters;
  /** First half of a clean stop: nobody new comes in, and no more requests are read; replies still go out. */
  stopReading(): void;
  /** Second half: each client gets what it is owed within the shutdown deadline, then the end. Resolves when every socket is gone. */
  close(): Promise<void>;
}

/**
 * Opens the one port and tells protocols apart by their first byte: `0x01` is the stream manager protocol, a letter
 * is HTTP, and with it WebSocket. HTTP is served from the start; clients of the protocol wait, unread, until `health` is ready,
 * and a WebSocket upgrade is answered with 503.
 * @throws {MillraceError} INVALID_SETTING when the address cannot be listened on
 */
export async function listenPort(options: PortOptions): Promise<Port> {
  const port = new ListeningPort(options);
  await port.listen();
  return port;
}

class ListeningPort implements Port {
  readonly counters = new PortCounters();
  readonly #options: PortOptions;
  readonly #limits: PortLimits;
  readonly #sweep: DeadlineSweep;
  readonly #server: Server;
  readonly #http: HttpService;
  readonly #webSockets: WebSocketService;
  readonly #sockets = new Set<Socket>();
  readonly #sessions = new Set<TcpSession>();
  readonly #removeMetrics: () => void;
  #bound: AddressInfo | undefined;
  #closing: Promise<void> | undefined;

  constructor(options: PortOptions) {
    const { health, metrics, authenticator, handler, logger, allowedOrigins } = options;
    this.#options = options;
    this.#limits = { ...portLimitsDefault, ...options.limits };
    this.#sweep = new DeadlineSweep({ clock: options.clock, intervalMs: this.#limits.sweepIntervalMs });
    const shared = { health, authenticator, logger, counters: this.counters, limits: this.#limits };
    const guard = new RequestGuard({ allowedHosts: options.allowedHosts, allowedOrigins });
    this.#webSockets = new WebSocketService({
      ...shared,
      guard,
      handler,
      sweep: this.#sweep,
      answerConnect: (frame) => this.#answerConnect(frame),
    });
    this.#http = new HttpService({
      ...shared,
      guard,
      metrics,
      onUpgrade: (request, socket, head) => this.#webSockets.onUpgrade(request, socket, head),
    });
    // Half-open sockets are allowed, because a client that has said its last still waits for replies.
    this.#server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => this.#accept(socket));
    this.#server.maxConnections = this.#limits.connectionsMax;
    this.#server.on("drop", () => {
      this.counters.refuse("connections-max");
      logger.debug(EventName.PortFull, { limit: this.#limits.connectionsMax });
    });
    this.#removeMetrics = metrics.addProvider(() => this.#samples());
  }

  get address(): string {
    return this.#address().address;
  }

  get port(): number {
    return this.#address().port;
  }

  get connectionCount(): number {
    return this.#sockets.size;
  }

  async listen(): Promise<void> {
    const { host, port, logger } = this.#options;
    await new Promise<void>((resolve, reject) => {
      this.#server.once("error", (cause) => {
        const reason =
          systemCode(cause) === "EADDRINUSE" ? "the port is taken" : (systemCode(cause) ?? cause.message);
        reject(
          new MillraceError("INVALID_SETTING", `Cannot listen on ${host}:${port}: ${reason}`, { cause }),
        );
      });
      this.#server.listen({ host, port }, resolve);
    });
    this.#server.removeAllListeners("error");
    // From here on an error is a failed accept: out of descriptors, most likely. The next one may succeed.
    this.#server.on("error", (error) => {
      logger.warn(EventName.ConnectionFailed, {}, error);
    });
    this.#bound = this.#server.address() as AddressInfo;
    logger.info(EventName.PortListening, { address: this.#bound.address, port: this.#bound.port });
  }

  stopReading(): void {
    this.#server.close();
    for (const session of this.#sessions) session.pause("stopping");
    for (const session of this.#webSockets.sessions) session.pause("stopping");
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    const gone = new Promise<void>((resolve) => {
      if (this.#sockets.size === 0) resolve();
      else this.#onLastSocket = resolve;
    });
    this.#server.close();
    this.#http.close();
    for (const session of this.#sessions) session.goAway();
    for (const session of this.#webSockets.sessions) session.goAway();
    const deadline = setTimeout(() => {
      for (const socket of this.#sockets) socket.destroy();
    }, this.#limits.shutdownDeadlineMs);
    await gone;
    clearTimeout(deadline);
    this.#removeMetrics();
    this.#options.logger.info(EventName.PortClosed, { port: this.port });
  }

  #onLastSocket: () => void = () => undefined;

  *#samples(): Iterable<MetricSample> {
    yield* this.counters.samples();
    yield { name: "authentication_failures_total", value: this.#options.authenticator.failureCount };
    let bufferedBytes = 0;
    let pausedCount = 0;
    for (const session of [...this.#sessions, ...this.#webSockets.sessions]) {
      bufferedBytes += session.bufferedBytes;
      if (session.isPaused) pausedCount += 1;
    }
    yield { name: "outbound_buffered_bytes", value: bufferedBytes };
    yield { name: "paused_connections", value: pausedCount };
  }

  #address(): AddressInfo {
    assert(this.#bound !== undefined, "the port listens");
    return this.#bound;
  }

  #accept(socket: Socket): void {
    this.#sockets.add(socket);
    const expiresMs = this.#sweep.nowMs + this.#limits.firstByteDeadlineMs;
    const watched: Watched = {
      checkDeadlines: (nowMs) => {
        if (nowMs >= expiresMs) this.#drop(socket, "first-byte-deadline");
      },
    };
    this.#sweep.add(watched);
    socket.on("error", (error) => {
      this.#options.logger.debug(EventName.ConnectionFailed, { reason: systemCode(error) ?? error.name });
    });
    socket.once("close", () => {
      this.#sweep.remove(watched);
      this.#sockets.delete(socket);
      if (this.#sockets.size === 0) this.#onLastSocket();
    });
    const onEnd = (): void => {
      socket.destroy();
    };
    socket.once("end", onEnd);
    socket.once("data", (bytes: Buffer) => {
      socket.pause();
      socket.removeListener("end", onEnd);
      this.#sweep.remove(watched);
      this.#dispatch(socket, bytes);
    });
  }

  #dispatch(socket: Socket, bytes: Buffer): void {
    const first = bytes[0]!;
    if (first === CONNECT_VERSION) {
      this.#openSession(socket, bytes.subarray(1));
    } else if (isLetter(first)) {
      socket.unshift(bytes);
      this.#http.accept(socket);
      socket.resume();
    } else {
      // TLS gets a certificate, and a branch of its own, in a later version.
      this.#drop(socket, first === TLS_HANDSHAKE ? "tls" : "first-byte");
    }
  }

  #openSession(socket: Socket, firstBytes: Uint8Array): void {
    const { handler, authenticator, health, logger, serverVersion, acknowledgeNow } = this.#options;
    socket.setKeepAlive(true, KEEP_ALIVE_DELAY_MS);
    const session = new TcpSession({
      socket,
      firstBytes,
      handler,
      authenticator,
      health,
      sweep: this.#sweep,
      counters: this.counters,
      limits: this.#limits,
      logger,
      serverVersion,
      acknowledgeNow,
    });
    this.#sessions.add(session);
    socket.once("close", () => this.#sessions.delete(session));
    session.start();
  }

  /** Over WebSocket a Connect is answered and changes the version; who the client is, its upgrade has shown. */
  #answerConnect(frame: Uint8Array): ConnectAnswer {
    const { serverVersion } = this.#options;
    const offer = readConnect(frame);
    if ("status" in offer) {
      return { reply: encodeConnectRefusal(offer, serverVersion), protocolVersion: undefined };
    }
    const reply = encodeConnectSuccess({ offer, serverVersion, clientIdentifier: "websocket" });
    return { reply, protocolVersion: offer.protocolVersion };
  }

  #drop(socket: Socket, reason: RefusalReason): void {
    this.counters.refuse(reason);
    this.#options.logger.debug(EventName.ConnectionRefused, { reason });
    socket.destroy();
  }
}

function isLetter(byte: number): boolean {
  const lower = byte | 0x20;
  return lower >= 0x61 && lower <= 0x7a;
}
