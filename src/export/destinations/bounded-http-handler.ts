import { type Agent, type ClientRequest, IncomingMessage } from "node:http";
import { Readable, Transform, pipeline } from "node:stream";
import { NodeHttpHandler } from "@smithy/node-http-handler";
import { systemClock } from "../../core/clock.ts";
import {
  EXPORT_CONNECTION_TIMEOUT_MS,
  EXPORT_PROGRESS_MS_MAX,
  EXPORT_RESPONSE_BYTES_MAX,
} from "../../core/limits.ts";
import { systemTimers } from "../../core/timers.ts";
import { readSendQueues } from "./kernel-send-queue.ts";
import { outboundAgents, type OutboundAgents } from "./outbound-agents.ts";
import { boundPreliminaryAnswers } from "./preliminary-answers.ts";
import { ProgressWatch } from "./progress-watch.ts";

type Handle = NodeHttpHandler["handle"];

/**
 * The HTTP handler of every SDK client: keep-alive on plain and TLS connections, an end to requests that make no progress,
 * to answers that never end, and to those that are none. The SDK's default opens a connection for each request and cannot speak to a plain HTTP
 * endpoint.
 */
export class BoundedHttpHandler {
  readonly #agents: OutboundAgents;
  readonly #inner: NodeHttpHandler;
  readonly #watch: ProgressWatch;
  readonly #responseBytesMax: number;
  readonly metadata = { handlerProtocol: "http/1.1" };

  /** `progressMsMax` without progress: no byte that the other side acknowledged, none of its answer. */
  constructor({
    progressMsMax = EXPORT_PROGRESS_MS_MAX,
    responseBytesMax = EXPORT_RESPONSE_BYTES_MAX,
    authoritiesPath,
  }: {
    progressMsMax?: number;
    responseBytesMax?: number;
    /** PEM of the authorities to trust instead of those Node.js knows. */
    authoritiesPath?: string | undefined;
  } = {}) {
    this.#agents = outboundAgents(authoritiesPath);
    for (const agent of [this.#agents.http, this.#agents.https]) watchRequests(agent);
    this.#responseBytesMax = responseBytesMax;
    this.#watch = new ProgressWatch({
      agents: [this.#agents.http, this.#agents.https],
      progressMsMax,
      clock: systemClock,
      timers: systemTimers,
      readSendQueues,
    });
    this.#inner = new NodeHttpHandler({
      httpAgent: this.#agents.http,
      httpsAgent: this.#agents.https,
      connectionTimeout: Math.min(EXPORT_CONNECTION_TIMEOUT_MS, progressMsMax),
    });
  }

  async handle(...[request, options]: Parameters<Handle>): ReturnType<Handle> {
    this.#watch.start();
    const answer = await this.#inner.handle(request, options);
    const body: unknown = answer.response.body;
    if (body instanceof Readable) answer.response.body = this.#bounded(body);
    return answer;
  }

  #bounded(body: Readable): Readable {
    const bounded = capped(body, this.#responseBytesMax);
    if (body instanceof IncomingMessage) this.#watch.noteAnswer(body.socket, bounded);
    return bounded;
  }

  /** Closes idle connections; one with a request on it closes with its request. */
  destroy(): void {
    this.#inner.destroy();
    this.#agents.http.destroy();
    this.#agents.https.destroy();
  }
}

/** Every request passes its agent before it is sent; the handler of the SDK gives nobody a request to look at. */
function watchRequests(agent: Agent): void {
  const watched = agent as Agent & { addRequest: (request: ClientRequest, options: unknown) => void };
  const addRequest = watched.addRequest.bind(agent);
  watched.addRequest = (request, options) => {
    boundPreliminaryAnswers(request);
    addRequest(request, options);
  };
}

/** Passes on at most `bytesMax` bytes; one more destroys the connection. */
function capped(body: Readable, bytesMax: number): Transform {
  let received = 0;
  const cap = new Transform({
    transform(chunk: Buffer, _encoding, done) {
      received += chunk.length;
      if (received > bytesMax) done(new Error(`answer is longer than ${bytesMax} bytes`));
      else done(null, chunk);
    },
  });
  // The failure reaches whoever reads `cap`; the callback only keeps it from being an uncaught one.
  return pipeline(body, cap, () => undefined);
}
