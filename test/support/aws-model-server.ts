import type { IncomingMessage, ServerResponse } from "node:http";
import { checkInput, type ServiceModel, statusOf } from "./aws-service-model.ts";
import type { TestCertificate } from "./certificates.ts";
import { checkSignature } from "./sigv4.ts";
import { endlessBody, TestHttpServer } from "./test-http-server.ts";

/** What an entry of a request is answered with. */
export interface InjectedError {
  readonly index: number;
  readonly code: string;
  readonly message?: string;
}

/** What to answer. Nothing counts as stored unless its answer says so. */
export type ModelAnswer =
  | { readonly kind: "accept" }
  /** A 200 in which these entries failed. */
  | { readonly kind: "entries"; readonly errors: readonly InjectedError[] }
  /** `type` as the service names it; without one, as something in between would answer. */
  | { readonly kind: "error"; readonly status?: number; readonly type?: string; readonly message?: string }
  /** Stores the entries and cuts the connection without an answer. */
  | { readonly kind: "drop" }
  /** Stores the entries and never answers. */
  | { readonly kind: "hang" }
  /** A body that goes on for ever. */
  | { readonly kind: "endless" }
  /** A 200 with this body, whoever sends it. */
  | { readonly kind: "body"; readonly body: string; readonly type?: string };

/** A service of which the server has one operation. */
export interface ModelService<Entry> {
  readonly model: ServiceModel;
  readonly operation: string;
  readonly secretAccessKey: string;
  entriesOf(input: unknown): readonly Entry[];
  /** What the service refuses beyond its model: the whole request by throwing, entries by an error each. */
  judge(entries: readonly Entry[], input: unknown): readonly InjectedError[];
  /** The body of a 200. */
  replyTo(entries: readonly Entry[], errors: readonly InjectedError[]): unknown;
}

export interface ModelRequest<Entry> {
  readonly entries: readonly Entry[];
  readonly input: unknown;
  readonly host: string;
}

/** What `judge` throws to have the whole request answered with an error. */
export class ServiceError extends Error {
  constructor(type: string, message: string) {
    super(message);
    this.name = type;
  }
}

/**
 * Speaks one operation of an AWS service and refuses every request that its model, its documented limits or its signature
 * has something against. Records what arrived and what was stored.
 */
export class AwsModelServer<Entry> {
  readonly requests: ModelRequest<Entry>[] = [];
  /** Why requests were refused for what they are, not for what was injected. */
  readonly refusals: string[] = [];
  readonly stored: Entry[] = [];
  answer: (request: ModelRequest<Entry>, index: number) => ModelAnswer = () => ({ kind: "accept" });
  /** Of all bodies that arrived. */
  bodyBytes = 0;
  readonly http: TestHttpServer;
  readonly #service: ModelService<Entry>;
  #waiters: { readonly isMet: () => boolean; readonly resolve: () => void }[] = [];

  constructor(service: ModelService<Entry>, tls?: TestCertificate) {
    this.#service = service;
    this.http = new TestHttpServer((request, response) => {
      this.#serve(request, response).catch((error: unknown) => response.destroy(error as Error));
    }, tls);
  }

  get connections(): number {
    return this.http.connections;
  }

  get url(): string {
    return this.http.url;
  }

  get port(): number {
    return this.http.port;
  }

  async listen(): Promise<void> {
    await this.http.listen();
  }

  /** Cuts every connection and refuses new ones. */
  async close(): Promise<void> {
    await this.http.close();
  }

  /** Resolves after a request once `isMet` holds. */
  until(isMet: () => boolean): Promise<void> {
    if (isMet()) return Promise.resolve();
    return new Promise((resolve) => this.#waiters.push({ isMet, resolve }));
  }

  #notify(): void {
    const met = this.#waiters.filter(({ isMet }) => isMet());
    this.#waiters = this.#waiters.filter((waiter) => !met.includes(waiter));
    for (const { resolve } of met) resolve();
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    this.bodyBytes += Buffer.concat(chunks).length;
    let asked: ModelRequest<Entry>;
    let errors: readonly InjectedError[];
    try {
      asked = this.#read(request, Buffer.concat(chunks));
      errors = this.#service.judge(asked.entries, asked.input);
    } catch (error) {
      const { name, message } = error as Error;
      this.refusals.push(message);
      this.#sendError(response, {
        type: error instanceof ServiceError ? name : "InvalidRequestException",
        message,
      });
      this.#notify();
      return;
    }
    const index = this.requests.push(asked) - 1;
    this.#notify();
    this.#reply(asked, errors, { answer: this.answer(asked, index), response });
    this.#notify();
  }

  #read(request: IncomingMessage, body: Buffer): ModelRequest<Entry> {
    const { model, operation, secretAccessKey } = this.#service;
    const { method, requestUri } = model.operations[operation]!.http;
    if (request.method !== method || request.url !== requestUri) {
      throw new Error(`${request.method} ${request.url}, must be ${method} ${requestUri}`);
    }
    const { signingName: service } = model.metadata;
    checkSignature(request, body, { service, secretAccessKey });
    if (request.headers["content-type"] !== "application/json") {
      throw new Error(`Content-Type is ${request.headers["content-type"]}`);
    }
    const input: unknown = JSON.parse(body.toString());
    checkInput(model, operation, input);
    return { input, entries: this.#service.entriesOf(input), host: request.headers.host ?? "" };
  }

  #reply(
    { entries }: ModelRequest<Entry>,
    own: readonly InjectedError[],
    { answer, response }: { answer: ModelAnswer; response: ServerResponse },
  ): void {
    switch (answer.kind) {
      case "accept":
      case "entries": {
        const errors = [...own, ...(answer.kind === "entries" ? answer.errors : [])];
        this.#store(entries, errors);
        sendJson(response, 200, this.#service.replyTo(entries, errors));
        return;
      }
      case "error":
        this.#sendError(response, answer);
        return;
      case "drop":
        this.#store(entries, own);
        response.destroy();
        return;
      case "hang":
        this.#store(entries, own);
        return;
      case "endless":
        response.writeHead(200, { "content-type": "application/json" });
        endlessBody(response);
        return;
      case "body":
        response.writeHead(200, { "content-type": answer.type ?? "application/json" });
        response.end(answer.body);
        return;
    }
  }

  #store(entries: readonly Entry[], errors: readonly InjectedError[]): void {
    const failed = new Set(errors.map(({ index }) => index));
    this.stored.push(...entries.filter((_, index) => !failed.has(index)));
  }

  #sendError(
    response: ServerResponse,
    { status, type, message = "injected" }: { status?: number; type?: string; message?: string },
  ): void {
    if (type === undefined) {
      response.writeHead(status ?? 500, { "content-type": "text/html" });
      response.end("<html>something in between</html>");
      return;
    }
    response.setHeader("x-amzn-errortype", `${type}:http://internal.amazon.com/coral/`);
    sendJson(response, status ?? statusOf(this.#service.model, type) ?? 400, { message });
  }
}

function sendJson(response: ServerResponse, status: number, body: unknown): void {
  response.writeHead(status, { "content-type": "application/json", "x-amzn-requestid": "r-1" });
  response.end(JSON.stringify(body));
}
