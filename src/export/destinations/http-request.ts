import {
  request as httpRequest,
  type ClientRequest,
  type IncomingHttpHeaders,
  type RequestOptions,
} from "node:http";
import { request as httpsRequest } from "node:https";
import { systemCode } from "../../core/errors.ts";
import {
  EXPORT_RESPONSE_BYTES_MAX,
  EXPORT_RESPONSE_HEADER_BYTES_MAX,
  EXPORT_STALE_CONNECTIONS_MAX,
} from "../../core/limits.ts";
import { boundPreliminaryAnswers } from "./preliminary-answers.ts";

export interface PostRequest {
  readonly url: URL;
  /** The owner of the agent watches its sockets for requests that make no progress (progress-watch.ts). */
  readonly options: Pick<RequestOptions, "agent" | "lookup">;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Uint8Array;
  readonly connectionTimeoutMs: number;
}

export interface PostAnswer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
}

/** A kept connection that the other side had closed when it was used again: that says nothing about the request. */
class StaleConnection extends Error {}

/**
 * One POST. Resolves with the head of the answer when its body has ended, or was found too long or too slow and was cut off: what
 * it says counts for nothing, and it is neither kept nor decompressed. A redirect is an answer like any other, and its target is
 * not asked. @throws the system's error, or one that is named TimeoutError
 */
export async function post(request: PostRequest): Promise<PostAnswer> {
  for (let stale = 1; ; stale += 1) {
    try {
      return await postOnce(request);
    } catch (error) {
      if (!(error instanceof StaleConnection)) throw error;
      if (stale === EXPORT_STALE_CONNECTIONS_MAX) throw error.cause;
    }
  }
}

function postOnce({ url, options, headers, body, connectionTimeoutMs }: PostRequest): Promise<PostAnswer> {
  return new Promise((resolve, reject) => {
    const start = url.protocol === "https:" ? httpsRequest : httpRequest;
    const request = start(url, {
      ...options,
      method: "POST",
      headers: { ...headers, "content-length": String(body.length) },
      maxHeaderSize: EXPORT_RESPONSE_HEADER_BYTES_MAX,
    });
    let answer: PostAnswer | undefined;
    const end = (error?: Error): void => {
      if (answer !== undefined) resolve(answer);
      else reject(isStale(request, error) ? new StaleConnection("", { cause: error }) : error!);
      // The rest of a request that was answered early, or of an answer that nobody reads to its end.
      if (!request.writableFinished || error !== undefined) request.destroy();
    };
    request.on("error", end);
    request.on("response", (response) => {
      answer = { status: response.statusCode ?? 0, headers: response.headers };
      let receivedBytes = 0;
      response.on("data", (chunk: Buffer) => {
        receivedBytes += chunk.length;
        if (receivedBytes > EXPORT_RESPONSE_BYTES_MAX) request.destroy();
      });
      response.on("error", end);
      response.on("close", () => end());
    });
    boundPreliminaryAnswers(request);
    boundConnecting(request, { isTls: url.protocol === "https:", timeoutMs: connectionTimeoutMs });
    request.end(body);
  });
}

/** A host that does not answer at all is not worth the time that a slow one gets. */
function boundConnecting(
  request: ClientRequest,
  { isTls, timeoutMs }: { readonly isTls: boolean; readonly timeoutMs: number },
): void {
  request.once("socket", (socket) => {
    if (request.reusedSocket) return;
    const error = Object.assign(new Error(`no connection within ${timeoutMs / 1000} s`), {
      name: "TimeoutError",
    });
    const timer = setTimeout(() => request.destroy(error), timeoutMs);
    const clear = (): void => clearTimeout(timer);
    socket.once(isTls ? "secureConnect" : "connect", clear);
    socket.once("close", clear);
  });
}

function isStale({ reusedSocket }: ClientRequest, error: Error | undefined): boolean {
  const code = systemCode(error);
  return reusedSocket && (code === "ECONNRESET" || code === "EPIPE");
}
