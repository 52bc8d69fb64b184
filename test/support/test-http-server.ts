import { once } from "node:events";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { createServer as createTlsServer, type Server as TlsServer } from "node:https";
import type { AddressInfo, Server, Socket } from "node:net";
import type { TestCertificate } from "./certificates.ts";

type Listener = (request: IncomingMessage, response: ServerResponse) => void;

/** An HTTP server on 127.0.0.1, plain or with TLS, that can go away with its connections and come back on the same port. */
export class TestHttpServer {
  connections = 0;
  readonly #server: Server;
  readonly #tls: TlsServer | undefined;
  readonly #sockets = new Set<Socket>();
  #port = 0;

  constructor(listener: Listener, tls: TestCertificate | undefined) {
    this.#tls = tls && createTlsServer({ cert: tls.certificate, key: tls.key }, listener);
    this.#server = this.#tls ?? createServer(listener);
    this.#server.on("connection", (socket) => {
      this.connections += 1;
      this.#keep(socket);
    });
    this.#server.on("secureConnection", (socket: Socket) => this.#keep(socket));
  }

  #keep(socket: Socket): void {
    this.#sockets.add(socket);
    socket.on("error", () => undefined).on("close", () => this.#sockets.delete(socket));
  }

  get port(): number {
    return this.#port;
  }

  get url(): string {
    return `${this.#tls === undefined ? "http" : "https"}://127.0.0.1:${this.#port}`;
  }

  /** On the port that it had, or on a free one. */
  async listen(): Promise<void> {
    this.#server.listen(this.#port, "127.0.0.1");
    await once(this.#server, "listening");
    this.#port = (this.#server.address() as AddressInfo).port;
  }

  /** Cuts every connection and refuses new ones. */
  async close(): Promise<void> {
    if (!this.#server.listening) return;
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    for (const socket of this.#sockets) socket.destroy();
    await closed;
  }

  /** Connections from now on are shown another one; no session of an earlier one is taken up again. */
  useCertificate({ certificate, key }: TestCertificate): void {
    if (this.#tls === undefined) throw new Error("the server does not speak TLS");
    this.#tls.setSecureContext({ cert: certificate, key });
  }
}

/** Spaces for ever, as fast as they are taken. */
export function endlessBody(response: ServerResponse): void {
  const chunk = Buffer.alloc(65_536, " ");
  const more = (): void => {
    while (!response.destroyed && response.write(chunk));
  };
  response.on("drain", more);
  more();
}
