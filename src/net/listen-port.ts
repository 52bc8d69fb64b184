import type { Socket } from "node:net";
import type { Clock } from "../core/clock.ts";
import type { MetricSample } from "../observe/counters.ts";
import { EventName } from "../observe/events.ts";
import type { Health } from "../observe/health.ts";
import type { Logger } from "../observe/logger.ts";
import type { Metrics } from "../observe/metrics.ts";
import { type Authenticator, openAuthenticator } from "./authenticator.ts";
import { ConnectionDoor, type TlsOptions } from "./connection-door.ts";
import { ConnectionLimits } from "./connection-limits.ts";
import { DescriptorRoom } from "./descriptor-room.ts";
import type { ListeningServer } from "./listening-server.ts";
import { LocalSocket } from "./local-socket.ts";
import { PortCounters } from "./port-counters.ts";
import { type PortLimits, portLimitsDefault } from "./port-limits.ts";
import { PortServer } from "./port-server.ts";
import type { DescriptorCount } from "./process-descriptors.ts";
import { RequestGuard } from "./request-guard.ts";
import type { RequestHandler } from "./request-handler.ts";

const SUSPEND_DEADLINE_MS = 2000;

/** A Unix socket beside the port, for the same protocols. */
export interface LocalSocketSettings {
  readonly path: string;
  /** Who may connect beside the engine's own user. */
  readonly group: string | undefined;
  /** Whether a token is needed: otherwise whoever may open the file may do everything. */
  readonly authenticate: boolean;
}

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
  readonly localSocket?: LocalSocketSettings | undefined;
  /** Without it the port speaks no TLS. */
  readonly tls?: TlsOptions;
  /** What is known of the descriptors of this process; without it none are kept from connections. */
  readonly countDescriptors?: () => DescriptorCount | undefined;
}

/** An open port. */
export interface Port {
  readonly address: string;
  readonly port: number;
  readonly connectionCount: number;
  readonly counters: PortCounters;
  /** Reads certificate and key again, for the connections to come; files that cannot be used change nothing. */
  reload(): void;
  /**
   * Storage hangs: nobody is served any more, so that a supervisor and every client see it. Each client gets what it is owed,
   * within SUSPEND_DEADLINE_MS, and its end.
   */
  suspend(): void;
  /** Listens again at the same address. @throws {MillraceError} INVALID_SETTING when somebody else has it by now */
  resume(): Promise<void>;
  /** First half of a clean stop: nobody new comes in, and no more requests are read; replies still go out. */
  stopReading(): void;
  /** Second half: each client gets what it is owed within the shutdown deadline, then the end. Resolves when every socket is gone. */
  close(): Promise<void>;
}

/**
 * Opens the one port and tells protocols apart by their first byte: `0x01` is the stream manager protocol, a letter
 * is HTTP, and with it WebSocket. HTTP is served from the start; clients of the protocol wait, unread, until `health` is ready,
 * and a WebSocket upgrade is answered with 503.
 * A handshake of TLS leads to the same two inside, where there is a certificate.
 * @throws {MillraceError} INVALID_SETTING when the address cannot be listened on, or the certificate not be used
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
  readonly #server: PortServer;
  readonly #servers: readonly ListeningServer[];
  /** That of the port, and that of the Unix socket, if there is one. */
  readonly #doors: readonly ConnectionDoor[];
  readonly #newcomers: ConnectionLimits;
  readonly #descriptors: DescriptorRoom;
  readonly #removeMetrics: () => void;
  #isSuspended = false;
  #resuming: Promise<void> | undefined;
  #closing: Promise<void> | undefined;

  constructor(options: PortOptions) {
    const { host, port, health, metrics, logger, clock, allowedHosts, allowedOrigins } = options;
    this.#options = options;
    this.#limits = { ...portLimitsDefault, ...options.limits };
    const shared = {
      ...options,
      // A name that leads here by chance, or by somebody's design, is not the address that was asked for.
      guard: new RequestGuard({ allowedHosts: [...allowedHosts, ...ownHosts(host)], allowedOrigins }),
      counters: this.counters,
      limits: this.#limits,
    };
    const { acknowledgeNow, tls, localSocket } = options;
    const door = new ConnectionDoor({ ...shared, acknowledgeNow, tls });
    this.#newcomers = new ConnectionLimits({ clock, limits: this.#limits });
    const count = options.countDescriptors ?? (() => undefined);
    this.#descriptors = new DescriptorRoom({ clock, health, logger, count });
    const { connectionsMax } = this.#limits;
    const serverOptions = { logger, connectionsMax, onFull: () => this.#noteFull() };
    this.#server = new PortServer({
      ...serverOptions,
      host,
      port,
      onSocket: (socket) => this.#accept(socket, door),
    });
    if (localSocket === undefined) {
      this.#servers = [this.#server];
      this.#doors = [door];
    } else {
      const authenticator = localSocket.authenticate ? options.authenticator : openAuthenticator;
      const plain = { acknowledgeNow: undefined, tls: undefined };
      const localDoor = new ConnectionDoor({ ...shared, ...plain, authenticator });
      const { path, group } = localSocket;
      const onSocket = (socket: Socket): void => this.#accept(socket, localDoor);
      this.#servers = [this.#server, new LocalSocket({ ...serverOptions, path, group, onSocket })];
      this.#doors = [door, localDoor];
    }
    this.#removeMetrics = metrics.addProvider(() => this.#samples());
  }

  get address(): string {
    return this.#server.address.address;
  }

  get port(): number {
    return this.#server.address.port;
  }

  get connectionCount(): number {
    return this.#doors.reduce((sum, door) => sum + door.connectionCount, 0);
  }

  async listen(): Promise<void> {
    await this.#listen();
    if (this.#descriptors.isKnown || this.#options.countDescriptors === undefined) return;
    const reason = "this system does not tell how many there are: connections may take all of them";
    this.#options.logger.warn(EventName.DescriptorsUnknown, { reason });
  }

  /** All of them or none. */
  async #listen(): Promise<void> {
    try {
      for (const server of this.#servers) await server.listen();
    } catch (thrown) {
      this.#leave();
      throw thrown;
    }
  }

  #leave(): void {
    for (const server of this.#servers) server.close();
  }

  reload(): void {
    for (const door of this.#doors) door.reload();
  }

  suspend(): void {
    // A resumption under way sees it when it has the port, and leaves it again.
    if (this.#isSuspended || this.#closing !== undefined) return;
    this.#isSuspended = true;
    this.#leave();
    for (const door of this.#doors) {
      door.goAway();
      setTimeout(door.destroyer(), SUSPEND_DEADLINE_MS).unref();
    }
    this.#options.logger.error(EventName.PortClosed, { port: this.port, reason: "storage hangs" });
  }

  resume(): Promise<void> {
    if (!this.#isSuspended || this.#closing !== undefined) return this.#resuming ?? Promise.resolve();
    this.#isSuspended = false;
    this.#resuming ??= this.#resume().finally(() => (this.#resuming = undefined));
    return this.#resuming;
  }

  async #resume(): Promise<void> {
    try {
      await this.#listen();
    } catch (thrown) {
      this.#isSuspended = true;
      throw thrown;
    }
    // Suspended once more, or closed, before there was anything to close.
    if (this.#mustNotListen()) this.#leave();
  }

  #mustNotListen(): boolean {
    return this.#isSuspended || this.#closing !== undefined;
  }

  stopReading(): void {
    this.#leave();
    for (const door of this.#doors) door.stopReading();
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    this.#leave();
    await Promise.all(this.#doors.map((door) => door.close(this.#limits.shutdownDeadlineMs)));
    this.#removeMetrics();
    this.#options.logger.info(EventName.PortClosed, { port: this.port });
  }

  *#samples(): Iterable<MetricSample> {
    yield* this.counters.samples();
    yield { name: "authentication_failures_total", value: this.#options.authenticator.failureCount };
    const loads = this.#doors.map((door) => door.load());
    const bufferedBytes = loads.reduce((sum, load) => sum + load.bufferedBytes, 0);
    yield { name: "outbound_buffered_bytes", value: bufferedBytes };
    yield { name: "paused_connections", value: loads.reduce((sum, load) => sum + load.pausedCount, 0) };
    for (const door of this.#doors) yield* door.samples();
    yield* this.#descriptors.samples();
  }

  #accept(socket: Socket, door: ConnectionDoor): void {
    // Each server counts its own.
    const isFull = this.connectionCount >= this.#limits.connectionsMax;
    const refusal = isFull ? "connections-max" : this.#newcomers.admit(socket);
    if (refusal !== undefined) door.drop(socket, refusal);
    // The store comes first: it must be able to open segments and cursors whatever number of clients come.
    else if (!this.#descriptors.admit()) door.drop(socket, "descriptors");
    else door.accept(socket);
  }

  #noteFull(): void {
    this.counters.refuse("connections-max");
    this.#options.logger.debug(EventName.PortFull, { limit: this.#limits.connectionsMax });
  }
}

/** What stands for every address is the address of none: browsers take `0.0.0.0` for this machine, and pages know that. */
function ownHosts(host: string): string[] {
  if (host === "0.0.0.0" || host === "::") return [];
  return [host.includes(":") ? `[${host}]` : host];
}
