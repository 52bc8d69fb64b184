import { asMillraceError, MillraceError } from "../core/errors.ts";
import { CLIENT_REQUEST_TIMEOUT_MS } from "../core/limits.ts";
import { decodeAppendBatchResult } from "../wire/append-batch-result-layout.ts";
import { decodeMessagesHeader } from "../wire/messages-layout.ts";
import type { MessagesHeader } from "../wire/messages-layout.ts";
import type { OpenStreamResult } from "../wire/open-stream-layout.ts";
import { decodeOpenStreamResult, encodeOpenStream } from "../wire/open-stream-layout.ts";
import { Operation, operationName } from "../wire/operation.ts";
import type { Reply } from "../wire/reply.ts";
import { findRequestId } from "../wire/reply.ts";
import type { StreamDocumentOperation } from "../wire/stream-document-layout.ts";
import { decodeStreamDocumentResult, encodeStreamDocumentRequest } from "../wire/stream-document-layout.ts";
import type { Subscribe, SubscribeResult } from "../wire/subscribe-layout.ts";
import {
  decodeSubscribeResult,
  encodeCredit,
  encodeSubscribe,
  encodeUnsubscribe,
} from "../wire/subscribe-layout.ts";
import { decodeUnknownOperationError } from "../wire/unknown-operation.ts";
import type { Batch } from "./batch.ts";
import type { Environment, Socket, SocketOptions } from "./environment.ts";
import { statusError } from "./status-error.ts";

/** Receives what the engine pushes for one subscription. */
export interface SubscriptionSink {
  onSubscribeResult(result: SubscribeResult): void;
  onMessages(header: MessagesHeader, frame: Uint8Array): void;
}

/** A call of the official protocol: how to ask, and how to read the answer. */
export interface Call<T extends Reply> {
  encode(requestId: string): Uint8Array;
  decode(frame: Uint8Array): T;
  readonly replyOperation: Operation;
  readonly timeoutMs?: number;
}

/** Who waits for an answer. */
interface Waiter<T> {
  readonly resolve: (answer: T) => void;
  readonly reject: (error: Error) => void;
}

interface PendingCall extends Pick<Waiter<never>, "reject"> {
  readonly replyOperation: Operation;
  /** Takes the whole reply frame; may throw what decoding throws. */
  onReply(frame: Uint8Array): void;
}

const REQUEST_ID_MAX = 2 ** 32;

/** One open socket: matches answers to requests. Over once `onClose` was called; a new one takes its place. */
export class Connection {
  readonly #environment: Environment;
  readonly #onClose: (error: MillraceError) => void;
  #socket: Socket | undefined;
  #isOpen = true;
  #hasReceived = false;
  #lastRequestId = 0;
  readonly #calls = new Map<string, PendingCall>();
  readonly #opens = new Map<number, Waiter<OpenStreamResult>>();
  readonly #documents = new Map<number, Waiter<string>>();
  readonly #batches = new Map<number, Batch>();
  readonly #subscriptions = new Map<number, SubscriptionSink>();

  private constructor(environment: Environment, onClose: (error: MillraceError) => void) {
    this.#environment = environment;
    this.#onClose = onClose;
  }

  /** @throws {MillraceError} CONNECT_FAILED, UNAUTHORIZED, UNSUPPORTED_PROTOCOL */
  static async open(
    environment: Environment,
    options: SocketOptions,
    onClose: (error: MillraceError) => void,
  ): Promise<Connection> {
    const connection = new Connection(environment, onClose);
    connection.#socket = await environment.openSocket(options, {
      onFrame: (frame) => connection.#onFrame(frame),
      onClose: (error) => connection.#end(error),
    });
    return connection;
  }

  get isOpen(): boolean {
    return this.#isOpen;
  }

  /** Whether the peer has ever answered: one that only accepts and closes is not back yet. */
  get hasReceived(): boolean {
    return this.#hasReceived;
  }

  /** Asks and waits. @throws {MillraceError} the engine's refusal, CONNECTION_CLOSED, UNKNOWN_OUTCOME when the time is over */
  call<T extends Reply>(call: Call<T>): Promise<T> {
    const requestId = String(this.#nextRequestId());
    const timeoutMs = call.timeoutMs ?? CLIENT_REQUEST_TIMEOUT_MS;
    return new Promise<T>((resolve, reject) => {
      const frame = call.encode(requestId);
      const waiter = this.#until<T>(timeoutMs, { resolve, reject }, () => {
        this.#calls.delete(requestId);
        reject(noAnswer(frame, timeoutMs));
      });
      this.#calls.set(requestId, {
        replyOperation: call.replyOperation,
        onReply: (reply) => settle(waiter, call.decode(reply)),
        reject: waiter.reject,
      });
      this.#send(frame);
    });
  }

  /** @throws {MillraceError} STREAM_NOT_FOUND, CONNECTION_CLOSED, … */
  openStream(name: string): Promise<OpenStreamResult> {
    const requestId = this.#nextRequestId();
    return new Promise((resolve, reject) => {
      const waiter = this.#until(CLIENT_REQUEST_TIMEOUT_MS, { resolve, reject }, () => {
        this.drop(`no answer to OpenStream within ${CLIENT_REQUEST_TIMEOUT_MS} ms`);
      });
      this.#opens.set(requestId, waiter);
      this.#send(encodeOpenStream({ requestId, name }));
    });
  }

  /**
   * Asks about a stream by a document, empty for none. @returns the document of the answer, empty for none
   * @throws {MillraceError} the engine's refusal, CONNECTION_CLOSED, UNKNOWN_OUTCOME when the time is over
   */
  askDocument(
    operation: StreamDocumentOperation,
    request: { readonly name: string; readonly document: string },
  ): Promise<string> {
    const requestId = this.#nextRequestId();
    return new Promise((resolve, reject) => {
      const frame = encodeStreamDocumentRequest(operation, { ...request, requestId });
      const waiter = this.#until(CLIENT_REQUEST_TIMEOUT_MS, { resolve, reject }, () => {
        this.#documents.delete(requestId);
        reject(noAnswer(frame, CLIENT_REQUEST_TIMEOUT_MS));
      });
      this.#documents.set(requestId, waiter);
      this.#send(frame);
    });
  }

  /** The same waiter with a time: `onLate` is called when it is over before an answer is there. */
  #until<T>(timeoutMs: number, { resolve, reject }: Waiter<T>, onLate: () => void): Waiter<T> {
    const cancelTimer = this.#environment.after(timeoutMs, onLate);
    return {
      resolve: (answer) => {
        cancelTimer();
        resolve(answer);
      },
      reject: (error) => {
        cancelTimer();
        reject(error);
      },
    };
  }

  sendBatch(batch: Batch, handle: number): void {
    const requestId = this.#nextRequestId();
    this.#batches.set(requestId, batch);
    this.#send(batch.frame(handle, requestId));
  }

  /** @returns the subscription's id on this connection */
  subscribe(request: Omit<Subscribe, "subscriptionId">, sink: SubscriptionSink): number {
    const subscriptionId = this.#nextRequestId();
    this.#subscriptions.set(subscriptionId, sink);
    this.#send(encodeSubscribe({ ...request, subscriptionId }));
    return subscriptionId;
  }

  sendCredit(subscriptionId: number, creditBytes: number): void {
    this.#send(encodeCredit({ subscriptionId, creditBytes }));
  }

  unsubscribe(subscriptionId: number): void {
    if (this.#subscriptions.delete(subscriptionId)) this.#send(encodeUnsubscribe(subscriptionId));
  }

  /** Closes in order; `onClose` is not called. */
  close(): void {
    this.#socket?.close();
    this.#rejectAll(new MillraceError("CONNECTION_CLOSED", "Connection closed by the client"));
  }

  /** Ends at once, as if the peer had gone. */
  drop(reason: string): void {
    this.#socket?.terminate();
    this.#end(new MillraceError("CONNECTION_CLOSED", `Connection given up: ${reason}`));
  }

  #nextRequestId(): number {
    this.#lastRequestId = (this.#lastRequestId + 1) % REQUEST_ID_MAX;
    return this.#lastRequestId;
  }

  #send(frame: Uint8Array): void {
    // A caller that was not told of the end yet is told soon, by #rejectAll or by onClose.
    if (this.#isOpen) this.#socket?.send(frame);
  }

  #end(error: MillraceError): void {
    if (!this.#isOpen) return;
    this.#rejectAll(error);
    this.#onClose(error);
  }

  #rejectAll(error: MillraceError): void {
    this.#isOpen = false;
    for (const pending of this.#calls.values()) pending.reject(error);
    for (const pending of this.#opens.values()) pending.reject(error);
    for (const pending of this.#documents.values()) pending.reject(error);
    this.#calls.clear();
    this.#opens.clear();
    this.#documents.clear();
    this.#batches.clear();
    this.#subscriptions.clear();
  }

  #onFrame(frame: Uint8Array): void {
    if (!this.#isOpen) return;
    this.#hasReceived = true;
    try {
      this.#dispatch(frame);
    } catch (thrown) {
      // A peer that does not speak the protocol: nothing that follows could be trusted. Foreign errors are bugs, ours or the program's.
      if (!(thrown instanceof MillraceError)) throw thrown;
      this.drop(thrown.message);
    }
  }

  #dispatch(frame: Uint8Array): void {
    switch (frame[0]) {
      case Operation.AppendBatchResult:
        decodeAppendBatchResult(frame, this.#onBatchResult);
        return;
      case Operation.Messages: {
        const header = decodeMessagesHeader(frame);
        // After an unsubscribe, messages on their way still arrive.
        this.#subscriptions.get(header.subscriptionId)?.onMessages(header, frame);
        return;
      }
      case Operation.SubscribeResult: {
        const result = decodeSubscribeResult(frame);
        const sink = this.#subscriptions.get(result.subscriptionId);
        if (result.status !== 0) this.#subscriptions.delete(result.subscriptionId);
        sink?.onSubscribeResult(result);
        return;
      }
      case Operation.OpenStreamResult: {
        const result = decodeOpenStreamResult(frame);
        const pending = this.#opens.get(result.requestId);
        this.#opens.delete(result.requestId);
        if (pending !== undefined) settle(pending, result);
        return;
      }
      case Operation.DescribeStreamResult:
      case Operation.ConfigureStreamResult:
      case Operation.CreateStreamResult:
      case Operation.CommandExportsResult: {
        const { requestId, status, errorMessage, document } = decodeStreamDocumentResult(frame);
        const pending = this.#documents.get(requestId);
        this.#documents.delete(requestId);
        if (status === 0) pending?.resolve(document);
        else pending?.reject(statusError(status, errorMessage));
        return;
      }
      default:
        this.#onReply(frame);
    }
  }

  readonly #onBatchResult = (
    requestId: number,
    status: number,
    firstSequence: number,
    errorMessage: string,
  ): void => {
    const batch = this.#batches.get(requestId);
    if (!batch) throw new MillraceError("UNEXPECTED_OPERATION", `Answer to the unknown append ${requestId}`);
    this.#batches.delete(requestId);
    batch.owner.onResult(batch, status, firstSequence, errorMessage);
  };

  #onReply(frame: Uint8Array): void {
    const requestId = findRequestId(frame);
    const pending = requestId === undefined ? undefined : this.#calls.get(requestId);
    // The answer to a call whose time was over.
    if (requestId === undefined || !pending) return;
    this.#calls.delete(requestId);
    if (frame[0] === Operation.UnknownOperationError) {
      const reply = decodeUnknownOperationError(frame);
      pending.reject(statusError(reply.status, reply.errorMessage));
      return;
    }
    if (frame[0] !== pending.replyOperation) {
      const text = `Cannot read answer: ${operationName(frame[0]!)} instead of ${operationName(pending.replyOperation)}`;
      pending.reject(new MillraceError("UNEXPECTED_OPERATION", text));
      return;
    }
    try {
      pending.onReply(frame);
    } catch (thrown) {
      pending.reject(asMillraceError(thrown));
    }
  }
}

function settle<T extends { readonly status: number; readonly errorMessage: string }>(
  waiter: Waiter<T>,
  answer: T,
): void {
  if (answer.status === 0) waiter.resolve(answer);
  else waiter.reject(statusError(answer.status, answer.errorMessage));
}

function noAnswer(frame: Uint8Array, timeoutMs: number): MillraceError {
  const text = `No answer to ${operationName(frame[0]!)} within ${timeoutMs} ms`;
  return new MillraceError("UNKNOWN_OUTCOME", text);
}
