import type { Socket } from "node:net";
import { createServer, type Server, type TLSSocket } from "node:tls";
import type { Clock } from "../core/clock.ts";
import { systemCode } from "../core/errors.ts";
import { TLS_EXPIRY_CHECK_MS } from "../core/limits.ts";
import type { Timers } from "../core/timers.ts";
import type { MetricSample } from "../observe/counters.ts";
import { EventName } from "../observe/events.ts";
import type { Logger } from "../observe/logger.ts";
import type { PortCounters } from "./port-counters.ts";
import { expiryWarning, readTlsMaterial, type TlsMaterial, type TlsPaths } from "./tls-files.ts";

const TLS_VERSION_MIN = "TLSv1.2";

export interface TlsDoorOptions {
  readonly paths: TlsPaths;
  readonly handshakeDeadlineMs: number;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly counters: PortCounters;
  readonly logger: Logger;
  /** A connection whose handshake is done: what it sends is to be told apart as if it had come in the clear. */
  readonly onSecure: (socket: TLSSocket) => void;
}

/** Takes connections through the TLS handshake, under a certificate that can be exchanged while they go on. */
export class TlsDoor {
  readonly #options: TlsDoorOptions;
  readonly #server: Server;
  #notAfterMs: number;
  #cancelCheck: () => void = () => undefined;

  /** @throws {MillraceError} INVALID_SETTING when certificate or key cannot be used */
  constructor(options: TlsDoorOptions) {
    this.#options = options;
    const material = readTlsMaterial(options.paths);
    this.#notAfterMs = material.notAfterMs;
    // It never listens: it is handed sockets, which Node.js documents for this event.
    this.#server = createServer({
      ...contextOf(material),
      handshakeTimeout: options.handshakeDeadlineMs,
      // Browsers would rather speak HTTP/2.
      ALPNProtocols: ["http/1.1"],
    });
    this.#server.on("secureConnection", options.onSecure);
    this.#server.on("tlsClientError", (error, socket) => {
      options.counters.refuse("tls");
      const reason = systemCode(error) ?? error.name;
      options.logger.debug(EventName.ConnectionRefused, { transport: "tls", reason });
      socket.destroy();
    });
    this.#tellLoaded();
    this.#checkExpiry();
  }

  /** `socket` holds its first bytes again, unread. */
  accept(socket: Socket): void {
    this.#server.emit("connection", socket);
  }

  /** Reads the files again. What cannot be used changes nothing; connections that are open keep theirs anyway. */
  reload(): void {
    const { paths, logger } = this.#options;
    try {
      const material = readTlsMaterial(paths);
      this.#server.setSecureContext(contextOf(material));
      this.#notAfterMs = material.notAfterMs;
    } catch (thrown) {
      logger.error(EventName.TlsFailed, { path: paths.certificate }, thrown);
      return;
    }
    this.#tellLoaded();
    this.#checkExpiry();
  }

  close(): void {
    this.#cancelCheck();
  }

  *samples(): Iterable<MetricSample> {
    yield { name: "tls_certificate_not_after_seconds", value: this.#notAfterMs / 1000 };
  }

  #tellLoaded(): void {
    const { paths, logger } = this.#options;
    const reason = `expires ${new Date(this.#notAfterMs).toISOString()}`;
    logger.info(EventName.TlsLoaded, { path: paths.certificate, reason });
  }

  #checkExpiry(): void {
    const { paths, clock, timers, logger } = this.#options;
    const reason = expiryWarning({ notAfterMs: this.#notAfterMs }, clock.nowMs());
    if (reason !== undefined) logger.warn(EventName.TlsExpiring, { path: paths.certificate, reason });
    this.#cancelCheck();
    this.#cancelCheck = timers.setTimer(() => this.#checkExpiry(), TLS_EXPIRY_CHECK_MS);
  }
}

function contextOf({ certificate, key }: TlsMaterial): {
  readonly cert: Buffer;
  readonly key: Buffer;
  readonly minVersion: typeof TLS_VERSION_MIN;
} {
  return { cert: certificate, key, minVersion: TLS_VERSION_MIN };
}
