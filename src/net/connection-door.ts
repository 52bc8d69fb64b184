import type { Socket } from "node:net";
import type { TLSSocket } from "node:tls";
import type { Clock } from "../core/clock.ts";
import { systemCode } from "../core/errors.ts";
import type { Timers } from "../core/timers.ts";
import type { MetricSample } from "../observe/counters.ts";
import { EventName } from "../observe/events.ts";
import type { Health } from "../observe/health.ts";
import type { Logger } from "../observe/logger.ts";
import type { Metrics } from "../observe/metrics.ts";
import { CONNECT_VERSION } from "../wire/connect.ts";
import { type Authenticator, refusingAuthenticator } from "./authenticator.ts";
import { encodeConnectRefusal, encodeConnectSuccess, readConnect } from "./connect-handshake.ts";
import { DeadlineSweep, type Watched } from "./deadline-sweep.ts";
import { refuseOverHttp } from "./http-refusal.ts";
import { HttpService } from "./http-service.ts";
import { isLoopbackSocket } from "./peer-address.ts";
import type { PortCounters, RefusalReason } from "./port-counters.ts";
import type { PortLimits } from "./port-limits.ts";
import type { RequestGuard } from "./request-guard.ts";
import type { RequestHandler } from "./request-handler.ts";
import { TcpSession } from "./tcp-session.ts";
import { TlsDoor } from "./tls-door.ts";
import type { TlsPaths } from "./tls-files.ts";
import { WebSocketService } from "./websocket-service.ts";
import type { ConnectAnswer, WebSocketSession } from "./websocket-session.ts";

/** RELIABILITY 56: a peer that is gone without a word is found by the kernel's own probes. */
const KEEP_ALIVE_DELAY_MS = 30_000;
const TLS_HANDSHAKE = 0x16;
const PLAIN_REFUSED = "this port speaks TLS: use https:// or wss://";

/** A certificate, and which clients may do without TLS. */
export interface TlsOptions {
  readonly paths: TlsPaths;
  readonly plainFrom: PlainFrom;
  readonly timers: Timers;
}

/** The official clients know no TLS, and nobody else can listen on the loopback interface. */
export type PlainFrom = "loopback" | "nowhere" | "anywhere";

export interface ConnectionDoorOptions {
  readonly handler: RequestHandler;
  readonly authenticator: Authenticator;
  readonly guard: RequestGuard;
  readonly health: Health;
  readonly metrics: Metrics;
  readonly logger: Logger;
  readonly clock: Clock;
  readonly counters: PortCounters;
  readonly limits: PortLimits;
  readonly serverVersion: string;
  readonly acknowledgeNow: ((socket: Socket) => void) | undefined;
  readonly tls: TlsOptions | undefined;
}

/** Tells by the first byte of a connection what it speaks, and knows all that are open. */
export class ConnectionDoor {
  readonly #options: ConnectionDoorOptions;
  readonly #sweep: DeadlineSweep;
  readonly #http: HttpService;
  readonly #webSockets: WebSocketService;
  readonly #tls: TlsDoor | undefined;
  readonly #sockets = new Set<Socket>();
  readonly #tcpSessions = new Set<TcpSession>();
  readonly #stopWatchingTokens: () => void;
  #onEmpty: () => void = () => undefined;

  constructor(options: ConnectionDoorOptions) {
    const { clock, limits, authenticator } = options;
    this.#options = options;
    this.#sweep = new DeadlineSweep({ clock, intervalMs: limits.sweepIntervalMs });
    this.#webSockets = new WebSocketService({
      ...options,
      sweep: this.#sweep,
      answerConnect: (frame) => this.#answerConnect(frame),
    });
    this.#http = new HttpService({
      ...options,
      onUpgrade: (request, socket, head) => this.#webSockets.onUpgrade(request, socket, head),
    });
    this.#tls = options.tls && this.#openTls(options.tls);
    this.#stopWatchingTokens = authenticator.onRevoked(() => this.#endRevoked());
  }

  get connectionCount(): number {
    return this.#sockets.size;
  }

  /** Reads the certificate and its key again. */
  reload(): void {
    this.#tls?.reload();
  }

  /** Bytes sent that the peers have not taken, and connections that are not read at present. */
  load(): { readonly bufferedBytes: number; readonly pausedCount: number } {
    let bufferedBytes = 0;
    let pausedCount = 0;
    for (const session of this.#sessions()) {
      bufferedBytes += session.bufferedBytes;
      if (session.isPaused) pausedCount += 1;
    }
    return { bufferedBytes, pausedCount };
  }

  *samples(): Iterable<MetricSample> {
    if (this.#tls !== undefined) yield* this.#tls.samples();
  }

  /** Waits for the first byte, for a while. */
  accept(socket: Socket): void {
    this.#sockets.add(socket);
    socket.once("close", () => {
      this.#sockets.delete(socket);
      if (this.#sockets.size === 0) this.#onEmpty();
    });
    this.#awaitFirstByte(socket, (bytes) => this.#dispatch(socket, bytes));
  }

  #openTls({ paths, timers }: TlsOptions): TlsDoor {
    const { limits, clock, counters, logger } = this.#options;
    const { handshakeDeadlineMs } = limits;
    return new TlsDoor({
      ...{ paths, timers, clock, counters, logger, handshakeDeadlineMs },
      onSecure: (socket) => this.#awaitFirstByte(socket, (bytes) => this.#dispatchSecure(socket, bytes)),
    });
  }

  drop(socket: Socket, reason: RefusalReason): void {
    this.#options.counters.refuse(reason);
    this.#options.logger.debug(EventName.ConnectionRefused, { reason });
    socket.destroy();
  }

  /** No more requests are read; replies still go out. */
  stopReading(): void {
    for (const session of this.#sessions()) session.pause("stopping");
  }

  /** Each client gets what it is owed, and its end. */
  goAway(): void {
    for (const session of this.#sessions()) session.goAway();
  }

  /** Ends, without more ado, the connections that are open now. @returns what does it */
  destroyer(): () => void {
    const sockets = [...this.#sockets];
    return () => {
      for (const socket of sockets) socket.destroy();
    };
  }

  /** Resolves when every socket is gone, at the latest after `deadlineMs`. */
  async close(deadlineMs: number): Promise<void> {
    const gone = new Promise<void>((resolve) => {
      if (this.#sockets.size === 0) resolve();
      else this.#onEmpty = resolve;
    });
    this.#http.close();
    this.#tls?.close();
    this.goAway();
    const deadline = setTimeout(() => this.destroyer()(), deadlineMs);
    await gone;
    clearTimeout(deadline);
    this.#stopWatchingTokens();
  }

  *#sessions(): Iterable<TcpSession | WebSocketSession> {
    yield* this.#tcpSessions;
    yield* this.#webSockets.sessions;
  }

  #awaitFirstByte(socket: Socket, onBytes: (bytes: Buffer) => void): void {
    socket.on("error", (error) => {
      this.#options.logger.debug(EventName.ConnectionFailed, { reason: systemCode(error) ?? error.name });
    });
    const expiresMs = this.#sweep.nowMs + this.#options.limits.firstByteDeadlineMs;
    const watched: Watched = {
      checkDeadlines: (nowMs) => {
        if (nowMs >= expiresMs) this.drop(socket, "first-byte-deadline");
      },
    };
    this.#sweep.add(watched);
    socket.once("close", () => this.#sweep.remove(watched));
    const onEnd = (): void => {
      socket.destroy();
    };
    socket.once("end", onEnd);
    socket.once("data", (bytes: Buffer) => {
      socket.pause();
      socket.removeListener("end", onEnd);
      this.#sweep.remove(watched);
      onBytes(bytes);
    });
  }

  #dispatch(socket: Socket, bytes: Buffer): void {
    const first = bytes[0]!;
    const { authenticator, acknowledgeNow } = this.#options;
    if (first === TLS_HANDSHAKE && this.#tls !== undefined) {
      socket.setKeepAlive(true, KEEP_ALIVE_DELAY_MS);
      socket.unshift(bytes);
      this.#tls.accept(socket);
    } else if (first === CONNECT_VERSION) {
      socket.setKeepAlive(true, KEEP_ALIVE_DELAY_MS);
      const isWelcome = this.#mayBePlain(socket);
      if (!isWelcome) this.#options.counters.refuse("plain");
      const judge = isWelcome ? authenticator : refusingAuthenticator(`Cannot connect: ${PLAIN_REFUSED}`);
      this.#openSession(socket, bytes.subarray(1), { authenticator: judge, acknowledgeNow });
    } else if (!isLetter(first)) {
      this.drop(socket, first === TLS_HANDSHAKE ? "tls" : "first-byte");
    } else if (this.#mayBePlain(socket)) this.#acceptHttp(socket, bytes);
    else this.#refusePlainHttp(socket);
  }

  #dispatchSecure(socket: TLSSocket, bytes: Buffer): void {
    const first = bytes[0]!;
    const { authenticator } = this.#options;
    if (first === CONNECT_VERSION) {
      // The kernel's acknowledgements are not asked for: no official client with that habit speaks TLS.
      this.#openSession(socket, bytes.subarray(1), { authenticator, acknowledgeNow: undefined });
    } else if (isLetter(first)) this.#acceptHttp(socket, bytes);
    else this.drop(socket, "first-byte");
  }

  #mayBePlain(socket: Socket): boolean {
    const plainFrom = this.#options.tls?.plainFrom ?? "anywhere";
    return plainFrom === "anywhere" || (plainFrom === "loopback" && isLoopbackSocket(socket));
  }

  #acceptHttp(socket: Socket, bytes: Buffer): void {
    socket.unshift(bytes);
    this.#http.accept(socket);
    socket.resume();
  }

  /** Whatever it asks, and whatever token it has already given away. */
  #refusePlainHttp(socket: Socket): void {
    this.#options.counters.refuse("plain");
    this.#options.logger.debug(EventName.ConnectionRefused, { transport: "http", reason: PLAIN_REFUSED });
    const lingering = { sweep: this.#sweep, deadlineMs: this.#options.limits.lingerDeadlineMs };
    refuseOverHttp(socket, { status: 400, text: PLAIN_REFUSED }, lingering);
  }

  #openSession(
    socket: Socket,
    firstBytes: Uint8Array,
    means: Pick<ConnectionDoorOptions, "authenticator" | "acknowledgeNow">,
  ): void {
    const session = new TcpSession({ ...this.#options, ...means, socket, firstBytes, sweep: this.#sweep });
    this.#tcpSessions.add(session);
    socket.once("close", () => this.#tcpSessions.delete(session));
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

  /** A token that was revoked, or may do other things now, ends the connections that it opened. */
  #endRevoked(): void {
    const { authenticator, logger, counters } = this.#options;
    for (const session of this.#sessions()) {
      // One that has not said who it is yet is asked by the authenticator as it is now.
      if (!session.isOpen || authenticator.isCurrent(session.principal)) continue;
      counters.refuse("revoked");
      const { id, transport, peer, principal } = session;
      logger.info(EventName.ConnectionRevoked, { session: id, transport, peer, principal: principal.name });
      session.revoke();
    }
  }
}

function isLetter(byte: number): boolean {
  const lower = byte | 0x20;
  return lower >= 0x61 && lower <= 0x7a;
}
