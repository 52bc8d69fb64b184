import type { IncomingHttpHeaders, IncomingMessage, ServerResponse } from "node:http";
import type { TestCertificate } from "./certificates.ts";
import { endlessBody, TestHttpServer } from "./test-http-server.ts";

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
  /** Stores the request, and says so in an answer whose body has no end. */
  | { readonly kind: "endless" }
  /** Anything at all. */
  | { readonly kind: "custom"; readonly answer: (response: ServerResponse) => void };

const accept: HttpAnswer = { kind: "status", status: 204 };

/** An HTTP server that takes whatever is sent to it, plain or with TLS. */
export class HttpTarget {
  readonly requests: HttpDelivery[] = [];
  readonly stored: HttpDelivery[] = [];
  answer: (request: HttpDelivery, index: number) => HttpAnswer = () => accept;
  readonly http: TestHttpServer;
  readonly #isTls: boolean;

  private constructor(tls: TestCertificate | undefined) {
    this.#isTls = tls !== undefined;
    this.http = new TestHttpServer((request, response) => {
      this.#serve(request, response).catch(() => undefined);
    }, tls);
  }

  static async start({ tls }: { tls?: TestCertificate | undefined } = {}): Promise<HttpTarget> {
    const target = new HttpTarget(tls);
    await target.listen();
    return target;
  }

  get connections(): number {
    return this.http.connections;
  }

  get port(): number {
    return this.http.port;
  }

  get origin(): string {
    return `${this.#isTls ? "https://localhost" : "http://127.0.0.1"}:${this.port}`;
  }

  async listen(): Promise<void> {
    await this.http.listen();
  }

  /** Cuts every connection and refuses new ones. */
  async close(): Promise<void> {
    await this.http.close();
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
      case "endless":
        response.writeHead(200, { "content-type": "text/plain" });
        endlessBody(response);
        return;
      case "custom":
        answer.answer(response);
    }
  }
}
