import { MillraceError } from "../../core/errors.ts";
import {
  OUTBOUND_BUFFERED_BYTES_MAX,
  SUBSCRIPTION_CREDIT_BYTES_MAX,
  SUBSCRIPTION_WINDOW_BYTES,
} from "../../core/limits.ts";
import { StatusCode } from "../../core/status-code.ts";
import type { StreamRequest } from "../../stream/pending-requests.ts";
import type { ReceivedGap, ReceivedRecords } from "../../stream/records-decoder.ts";
import { GapReason as StoreGapReason } from "../../stream/stream-channel.ts";
import type { StreamProxy } from "../../stream/stream-proxy.ts";
import { GapReason, encodeMessages } from "../../wire/messages-layout.ts";
import { failureText } from "../../wire/reply-status.ts";
import { type Credit, type Subscribe, encodeSubscribeResult } from "../../wire/subscribe-layout.ts";
import { assertOpen } from "../catalog.ts";
import type { Cancellable, ClientState } from "../client-state.ts";
import type { EngineContext } from "../engine-context.ts";

/** Subscribe (68): pushes Messages frames from a sequence number on, as far as the client gives credit. */
export function handleSubscribe(engine: EngineContext, client: ClientState, request: Subscribe): void {
  const { handle, subscriptionId, fromSequence, creditBytes } = request;
  client.assertSubscriptionFree(subscriptionId);
  const entry = client.stream(handle, "read");
  assertOpen(entry);
  const proxy = engine.workers.proxy(entry.workerIndex);
  proxy.assertRoom();
  const subscription = new Subscription(client, proxy, subscriptionId);
  client.subscriptions.set(subscriptionId, subscription);
  const firstSequence = Math.max(fromSequence, entry.progress.oldestSequence);
  const result = { subscriptionId, status: StatusCode.Success, firstSequence, errorMessage: "" };
  client.session.send(encodeSubscribeResult(result));
  // From what the client was told: what is deleted until the worker gets there comes to it as a gap.
  subscription.start({ slot: entry.slot, fromSequence: firstSequence, creditBytes });
}

export function refuseSubscribe(
  client: ClientState,
  { subscriptionId }: Subscribe,
  error: MillraceError,
): void {
  sendFailure(client, subscriptionId, error);
}

/** Credit (71): the client took so many bytes. */
export function handleCredit(
  _engine: EngineContext,
  client: ClientState,
  { subscriptionId, creditBytes }: Credit,
): void {
  client.subscriptions.get(subscriptionId)?.credit(creditBytes);
}

/** Unsubscribe (72). Frames on their way may still arrive. */
export function handleUnsubscribe(_engine: EngineContext, client: ClientState, subscriptionId: number): void {
  client.subscriptions.get(subscriptionId)?.cancel();
  client.subscriptions.delete(subscriptionId);
}

const gapReasons = {
  [StoreGapReason.Corrupt]: GapReason.Corrupt,
  [StoreGapReason.Missing]: GapReason.Lost,
  [StoreGapReason.Overwritten]: GapReason.Overwritten,
} as const;

class Subscription implements StreamRequest, Cancellable {
  readonly #client: ClientState;
  readonly #proxy: StreamProxy;
  readonly #subscriptionId: number;
  #token = -1;
  /** Bytes that the client allows and the worker does not know of. */
  #heldBackBytes = 0;
  /** Bytes that the worker may push beyond those that came; below 0 after a message larger than that. */
  #windowBytes = 0;
  #nextSequence = 0;

  constructor(client: ClientState, proxy: StreamProxy, subscriptionId: number) {
    this.#client = client;
    this.#proxy = proxy;
    this.#subscriptionId = subscriptionId;
  }

  start(from: { slot: number; fromSequence: number; creditBytes: number }): void {
    const allowedBytes = Math.min(from.creditBytes, SUBSCRIPTION_CREDIT_BYTES_MAX);
    this.#windowBytes = Math.min(allowedBytes, SUBSCRIPTION_WINDOW_BYTES);
    this.#heldBackBytes = allowedBytes - this.#windowBytes;
    this.#nextSequence = from.fromSequence;
    this.#token = this.#proxy.subscribe(this, { ...from, creditBytes: this.#windowBytes });
  }

  /** More than the limit is not believed. */
  credit(bytes: number): void {
    const creditBytes = this.#heldBackBytes + this.#windowBytes;
    this.#heldBackBytes += Math.max(0, Math.min(bytes, SUBSCRIPTION_CREDIT_BYTES_MAX - creditBytes));
    this.resume();
  }

  /** Lets the worker go on, unless the client does not take what was sent: its session tells when it has. */
  resume(): void {
    if (this.#client.session.bufferedBytes > OUTBOUND_BUFFERED_BYTES_MAX) return;
    if (this.#heldBackBytes === 0 || this.#windowBytes * 2 > SUBSCRIPTION_WINDOW_BYTES) return;
    const bytes = Math.min(this.#heldBackBytes, SUBSCRIPTION_WINDOW_BYTES - this.#windowBytes);
    this.#heldBackBytes -= bytes;
    this.#windowBytes += bytes;
    this.#proxy.credit(this.#token, bytes);
  }

  onRecords(records: ReceivedRecords): void {
    this.#windowBytes -= records.messages.length;
    const { firstSequence, durableEnd, messages, messageCount } = records;
    this.#nextSequence = firstSequence + messageCount;
    const runs = records.runs.map((run) => ({ messageCount: run.messageCount, ingestTimeMs: run.ingestMs }));
    this.#send({ firstSequence, durableEnd, runs, messageBytes: messages });
    this.resume();
  }

  onGap({ fromSequence, toSequence, reason }: ReceivedGap): void {
    const missingCount = toSequence - fromSequence;
    const runs = [{ gapReason: gapReasons[reason], missingCount }];
    this.#nextSequence = toSequence;
    this.#send({
      firstSequence: fromSequence,
      durableEnd: fromSequence,
      runs,
      messageBytes: new Uint8Array(0),
    });
  }

  onFailed(error: MillraceError): void {
    this.#client.subscriptions.delete(this.#subscriptionId);
    const text = `Subscription ended at sequence number ${this.#nextSequence}: ${error.message}`;
    sendFailure(this.#client, this.#subscriptionId, new MillraceError(error.code, text));
  }

  cancel(): void {
    this.#proxy.cancel(this.#token);
  }

  #send(part: {
    firstSequence: number;
    durableEnd: number;
    runs: Parameters<typeof encodeMessages>[0]["runs"];
    messageBytes: Uint8Array;
  }): void {
    const { firstSequence, durableEnd, runs, messageBytes } = part;
    const frame = {
      subscriptionId: this.#subscriptionId,
      firstSequence,
      durableEndSequence: durableEnd,
      runs,
      messageBytes,
    };
    this.#client.session.send(encodeMessages(frame));
  }
}

function sendFailure(client: ClientState, subscriptionId: number, error: MillraceError): void {
  const failure = {
    subscriptionId,
    status: error.ownStatus,
    firstSequence: 0,
    errorMessage: failureText(error),
  };
  client.session.send(encodeSubscribeResult(failure));
}
