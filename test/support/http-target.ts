import {
  createServer as createHttpServer,
  type IncomingHttpHeaders,
  type IncomingMessage,
  type ServerResponse,
} from "node:http";
import { createServer as createTlsServer } from "node:https";
import type { AddressInfo, Server, Socket } from "node:net";
import type { TestCertificate } from "./certificates.ts";

/** One request as it arrived. */
export interface HttpDelivery {
  readonly method: string;
  readonly path: string;
  readonly headers: IncomingHttpHeaders;
  readonly body: Buffer;
}

/** What to answer. Only what is answered with a success, or `drop`, counts as stored. */
export type HttpAnswer =
  | {
      readonly kind: "status";
      readonly status: number;
      readonly headers?: Readonly<Record<string, string>>;
      readonly body?: string | Buffer;
    }
  /** Stores the request and cuts the connection. */
  | { readonly kind: "drop" }
  /** Stores the request, and never answers. */
  | { readonly kind: "hang" }
  /** Anything at all. */
  | { readonly kind: "custom"; readonly answer: (response: ServerResponse) => void };

const accept: HttpAnswer = { kind: "status", status: 204 };

/** An HTTP server that takes whatever is sent to it, plain or with TLS. */
export class HttpTarget {
  readonly requests: HttpDelivery[] = [];
  readonly stored: HttpDelivery[] = [];
  connections = 0;
  answer: (request: HttpDelivery, index: number) => HttpAnswer = () => accept;
  readonly #server: Server;
  readonly #isTls: boolean;
  readonly #sockets = new Set<Socket>();
  #port = 0;

  private constructor(tls: TestCertificate | undefined) {
    const serve = (request: IncomingMessage, response: ServerResponse): void =>
      void this.#serve(request, response).catch(() => undefined);
    this.#isTls = tls !== undefined;
    this.#server =
      tls === undefined
        ? createHttpServer(serve)
        : createTlsServer({ cert: tls.certificate, key: tls.key }, serve);
    this.#server.on("connection", (socket: Socket) => {
      this.connections += 1;
      this.#sockets.add(socket);
      socket.on("error", () => undefined).on("close", () => this.#sockets.delete(socket));
    });
  }

  static async start({ tls }: { tls?: TestCertificate | undefined } = {}): Promise<HttpTarget> {
    const target = new HttpTarget(tls);
    await target.listen();
    return target;
  }

  get port(): number {
    return this.#port;
  }

  get origin(): string {
    return `${this.#isTls ? "https://localhost" : "http://127.0.0.1"}:${this.#port}`;
  }

  async listen(): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      this.#server.once("error", reject).listen(this.#port, "127.0.0.1", resolve);
    });
    this.#port = (this.#server.address() as AddressInfo).port;
  }

  /** Cuts every connection and refuses new ones. */
  async close(): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    for (const socket of this.#sockets) socket.destroy();
    await closed;
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const delivery = {
      method: request.method ?? "",
      path: request.url ?? "",
      headers: request.headers,
      body: Buffer.concat(chunks),
    };
    const index = this.requests.push(delivery) - 1;
    const answer = this.answer(delivery, index);
    const isStored = answer.kind !== "custom" && (answer.kind !== "status" || answer.status < 300);
    if (isStored) this.stored.push(delivery);
    switch (answer.kind) {
      case "status":
        response.writeHead(answer.status, answer.headers);
        response.end(answer.body ?? "");
        return;
      case "drop":
        request.socket.destroy();
        return;
      case "hang":
        return;
      case "custom":
        answer.answer(response);
    }
  }
}
