import type { MillraceError } from "../core/errors.ts";
import type { ReceivedGap, ReceivedRecords } from "./records-decoder.ts";

/** Somebody who waits for a worker. Exactly one of `onAppended`, the last `onRecords` and `onFailed` ends a request. */
export interface StreamRequest {
  /** When it was asked, monotonic milliseconds; undefined for what may wait for ever (subscriptions, reads with own deadlines). */
  readonly askedMs?: number;
  /** `isRepeat`: the batch had been stored before, and this is its first answer again. */
  onAppended?(firstSequence: number, isRepeat: boolean): void;
  onRecords?(records: ReceivedRecords): void;
  onGap?(gap: ReceivedGap): void;
  onFailed(error: MillraceError): void;
}

/** A request that was answered otherwise while the worker still has it; its token is not given out again until then. */
class AbandonedRequest implements StreamRequest {
  readonly askedMs?: number;

  constructor({ askedMs }: StreamRequest) {
    if (askedMs !== undefined) this.askedMs = askedMs;
  }
  onFailed(): void {
    // Whoever asked has its answer.
  }
}

/** Tokens for what a worker has not answered yet. A token is reused only after its answer came. */
export class PendingRequests {
  readonly #requests: (StreamRequest | undefined)[] = [];
  readonly #free: number[] = [];
  #count = 0;

  get count(): number {
    return this.#count;
  }

  add(request: StreamRequest): number {
    const token = this.#free.pop() ?? this.#requests.length;
    this.#requests[token] = request;
    this.#count += 1;
    return token;
  }

  /** When the oldest request was asked that the worker still has and that should be answered soon. */
  get oldestAskedMs(): number | undefined {
    let oldest: number | undefined;
    for (const request of this.#requests) {
      const askedMs = request?.askedMs;
      if (askedMs !== undefined && (oldest === undefined || askedMs < oldest)) oldest = askedMs;
    }
    return oldest;
  }

  get(token: number): StreamRequest | undefined {
    return this.#requests[token];
  }

  /** Ends a request and frees its token. */
  take(token: number): StreamRequest | undefined {
    const request = this.#requests[token];
    if (request === undefined) return undefined;
    this.#requests[token] = undefined;
    this.#free.push(token);
    this.#count -= 1;
    return request;
  }

  /** Whoever asked is gone or was told something else; the answer will be dropped. */
  abandon(token: number): void {
    const request = this.#requests[token];
    if (request !== undefined) this.#requests[token] = new AbandonedRequest(request);
  }

  /** Fails the requests asked before `askedMs`; the worker may still answer them later, to nobody. */
  expire(askedMs: number, error: MillraceError): void {
    this.#requests.forEach((request, token) => {
      if (request?.askedMs === undefined || request.askedMs >= askedMs) return;
      if (request instanceof AbandonedRequest) return;
      this.#requests[token] = new AbandonedRequest(request);
      request.onFailed(error);
    });
  }

  failAll(error: MillraceError): void {
    for (let token = 0; token < this.#requests.length; token++) this.take(token)?.onFailed(error);
  }
}
