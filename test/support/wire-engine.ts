import assert from "node:assert/strict";
import { MillraceError, SequenceGapError } from "../../src/core/errors.ts";
import { checkFraming, FramingFault } from "../../src/core/message-framing.ts";
import { StatusCode } from "../../src/core/status-code.ts";
import type { StreamDefinition } from "../../src/core/stream-definition.ts";
import { decodeLz4Block } from "../../src/log/lz4-frame.ts";
import { ProducerTable } from "../../src/log/producer-table.ts";
import { createAppendBatchHeader, readAppendBatchHeader } from "../../src/wire/append-batch-layout.ts";
import { AppendResultWriter } from "../../src/wire/append-batch-result-layout.ts";
import { decodeAppendMessage, encodeAppendMessageResponse } from "../../src/wire/append-message.ts";
import {
  decodeCreateMessageStream,
  encodeCreateMessageStreamResponse,
} from "../../src/wire/create-message-stream.ts";
import {
  decodeDeleteMessageStream,
  encodeDeleteMessageStreamResponse,
} from "../../src/wire/delete-message-stream.ts";
import {
  decodeDescribeMessageStream,
  encodeDescribeMessageStreamResponse,
} from "../../src/wire/describe-message-stream.ts";
import { decodeListStreams, encodeListStreamsResponse } from "../../src/wire/list-streams.ts";
import { readU32, writeU32 } from "../../src/wire/little-endian.ts";
import { encodeMessages } from "../../src/wire/messages-layout.ts";
import { decodeOpenStream, encodeOpenStreamResult } from "../../src/wire/open-stream-layout.ts";
import { Operation } from "../../src/wire/operation.ts";
import { decodeReadMessages, encodeReadMessagesResponse } from "../../src/wire/read-messages.ts";
import { findRequestId, success } from "../../src/wire/reply.ts";
import {
  decodeCredit,
  decodeSubscribe,
  decodeUnsubscribe,
  encodeSubscribeResult,
} from "../../src/wire/subscribe-layout.ts";
import { encodeUnknownOperationError } from "../../src/wire/unknown-operation.ts";
import {
  decodeUpdateMessageStream,
  encodeUpdateMessageStreamResponse,
} from "../../src/wire/update-message-stream.ts";

/**
 * What the test lets happen to one batch. `lose` stores it and answers nothing. A status is what the stream answers when it is the
 * turn of the batch; one with `isEarly` comes before the stream has seen it.
 */
export type BatchFate =
  "store" | "lose" | { readonly status: number; readonly stores?: boolean; readonly isEarly?: boolean };

interface StoredStream {
  definition: StreamDefinition;
  oldest: number;
  readonly payloads: Uint8Array[];
  producers: ProducerTable;
}

interface OpenSubscription {
  readonly stream: StoredStream;
  nextSequence: number;
  creditBytes: number;
}

export interface WirePeer {
  send(frame: Uint8Array): void;
}

const INGEST_TIME_MS = 1_700_000_000_000;
const MESSAGES_PER_FRAME = 10;

/** The server's half of the protocol over streams in memory, built from the codecs: the client's counterpart in its tests. */
export class WireEngine {
  readonly streams = new Map<string, StoredStream>();
  readonly operations: number[] = [];
  /** Decides about each batch. */
  fateOf: (requestId: number) => BatchFate = () => "store";
  /** While true answers to batches are kept back. */
  isHoldingAnswers = false;
  /** Operations that are not answered at all. */
  readonly silent = new Set<number>();
  /** Answers the requests that come by documents. */
  answerDocument: (frame: Uint8Array) => Uint8Array = () => {
    throw new Error("no document is expected");
  };
  /** How many came as LZ4 blocks, repeats included. */
  compressedBatches = 0;
  creditGiven = 0;
  unsubscribed = 0;
  readonly #sessions = new Set<WireSession>();

  connect(peer: WirePeer): WireSession {
    const session = new WireSession(this, peer, () => this.#sessions.delete(session));
    this.#sessions.add(session);
    return session;
  }

  create(name: string): StoredStream {
    const definition = { name } as StreamDefinition;
    const stream = { definition, oldest: 0, payloads: [], producers: new ProducerTable() };
    this.streams.set(name, stream);
    return stream;
  }

  texts(name: string): string[] {
    return this.streams.get(name)!.payloads.map((payload) => new TextDecoder().decode(payload));
  }

  store(stream: StoredStream, payloads: readonly Uint8Array[]): number {
    const firstSequence = stream.payloads.length;
    for (const payload of payloads) stream.payloads.push(new Uint8Array(payload));
    for (const session of this.#sessions) session.push();
    return firstSequence;
  }

  releaseAnswers(): void {
    this.isHoldingAnswers = false;
    for (const session of this.#sessions) session.flushResults();
  }
}

export class WireSession {
  readonly #engine: WireEngine;
  readonly #peer: WirePeer;
  readonly #onClose: () => void;
  readonly #handles: StoredStream[] = [];
  readonly #results = new AppendResultWriter();
  readonly #subscriptions = new Map<number, OpenSubscription>();
  readonly #header = createAppendBatchHeader();

  constructor(engine: WireEngine, peer: WirePeer, onClose: () => void) {
    this.#engine = engine;
    this.#peer = peer;
    this.#onClose = onClose;
  }

  close(): void {
    this.#onClose();
  }

  onFrame(frame: Uint8Array): void {
    this.#engine.operations.push(frame[0]!);
    if (this.#engine.silent.has(frame[0]!)) return;
    switch (frame[0]) {
      case Operation.OpenStream:
        this.#openStream(frame);
        return;
      case Operation.AppendBatch:
        this.#appendBatch(frame);
        return;
      case Operation.Subscribe:
        this.#subscribe(frame);
        return;
      case Operation.Credit:
        this.#credit(frame);
        return;
      case Operation.Unsubscribe:
        this.#engine.unsubscribed++;
        this.#subscriptions.delete(decodeUnsubscribe(frame));
        return;
      case Operation.DescribeStream:
      case Operation.ConfigureStream:
      case Operation.CreateStream:
      case Operation.CommandExports:
        this.#peer.send(this.#engine.answerDocument(frame));
        return;
      default:
        this.#peer.send(this.#answerCall(frame));
    }
  }

  #credit(frame: Uint8Array): void {
    const { subscriptionId, creditBytes } = decodeCredit(frame);
    this.#engine.creditGiven += creditBytes;
    const subscription = this.#subscriptions.get(subscriptionId);
    if (subscription) subscription.creditBytes += creditBytes;
    this.push();
  }

  flushResults(): void {
    if (this.#results.count > 0) this.#peer.send(this.#results.take());
  }

  endSubscriptions(status: number, errorMessage: string): void {
    for (const subscriptionId of this.#subscriptions.keys()) {
      this.#peer.send(encodeSubscribeResult({ subscriptionId, status, firstSequence: 0, errorMessage }));
    }
    this.#subscriptions.clear();
  }

  /** Forgets the handles, as an engine that has deleted the streams does. */
  forgetHandles(): void {
    this.#handles.length = 0;
  }

  #openStream(frame: Uint8Array): void {
    const { requestId, name } = decodeOpenStream(frame);
    const stream = this.#engine.streams.get(name);
    const refused = { status: StatusCode.ResourceNotFound, handle: 0, nextSequence: 0 };
    this.#peer.send(
      encodeOpenStreamResult(
        stream
          ? {
              requestId,
              status: 0,
              handle: this.#handles.push(stream) - 1,
              nextSequence: stream.payloads.length,
              errorMessage: "",
            }
          : { requestId, ...refused, errorMessage: `no stream "${name}"` },
      ),
    );
  }

  #appendBatch(frame: Uint8Array): void {
    const header = this.#header;
    readAppendBatchHeader(frame, header);
    const body = frame.subarray(header.messagesAt);
    const raw = header.isLz4 ? decodeLz4Block(body, header.rawSizeBytes).raw : body;
    if (header.isLz4) this.#engine.compressedBatches++;
    assert.equal(checkFraming(raw, 0, raw.length, header.messageCount), FramingFault.None);
    const stream = this.#handles[header.handle];
    if (!stream) {
      this.#results.addFailure(header.requestId, StatusCode.UnknownHandle, "unknown handle");
      this.#answerBatches();
      return;
    }
    const fate = this.#engine.fateOf(header.requestId);
    try {
      this.#decide(stream, raw, fate);
    } catch (thrown) {
      if (!(thrown instanceof SequenceGapError)) throw thrown;
      const { ownStatus, message, expectedSequence } = thrown;
      if (fate !== "lose") this.#results.addFailure(header.requestId, ownStatus, message, expectedSequence);
    }
    this.#answerBatches();
  }

  #decide(stream: StoredStream, raw: Uint8Array, fate: BatchFate): void {
    const { requestId, messageCount, producerId, producerSequence } = this.#header;
    const producer = { id: producerId, sequence: producerSequence };
    const refusal = typeof fate === "string" ? undefined : fate;
    const isEarly = refusal?.isEarly === true;
    const isNamed = this.#header.hasProducer;
    const known = isEarly || !isNamed ? undefined : stream.producers.find(producer, messageCount);
    const isStored = known === undefined && (refusal === undefined || refusal.stores === true);
    let firstSequence = known?.firstSequence ?? 0;
    if (isStored) {
      firstSequence = this.#engine.store(stream, payloadsOf(raw, 0));
      if (isNamed) stream.producers.record(producer, { firstSequence, messageCount });
    }
    if (fate === "lose") return;
    if (refusal === undefined || known !== undefined) this.#results.addSuccess(requestId, firstSequence);
    else this.#results.addFailure(requestId, refusal.status, `status ${refusal.status}`);
  }

  #answerBatches(): void {
    if (!this.#engine.isHoldingAnswers) this.flushResults();
  }

  #subscribe(frame: Uint8Array): void {
    const { handle, subscriptionId, fromSequence, creditBytes } = decodeSubscribe(frame);
    const stream = this.#handles[handle]!;
    const nextSequence = Math.max(fromSequence, stream.oldest);
    this.#peer.send(
      encodeSubscribeResult({ subscriptionId, status: 0, firstSequence: nextSequence, errorMessage: "" }),
    );
    this.#subscriptions.set(subscriptionId, { stream, nextSequence, creditBytes });
    this.push();
  }

  /** Sends what the credits allow. */
  push(): void {
    for (const [subscriptionId, subscription] of this.#subscriptions) {
      const { payloads } = subscription.stream;
      while (subscription.creditBytes > 0 && subscription.nextSequence < payloads.length) {
        const first = subscription.nextSequence;
        const batch = payloads.slice(first, first + MESSAGES_PER_FRAME);
        const frame = encodeMessages({
          subscriptionId,
          firstSequence: first,
          durableEndSequence: payloads.length,
          runs: [{ messageCount: batch.length, ingestTimeMs: INGEST_TIME_MS }],
          messageBytes: joined(batch),
        });
        subscription.nextSequence += batch.length;
        subscription.creditBytes -= frame.length;
        this.#peer.send(frame);
      }
    }
  }

  #answerCall(frame: Uint8Array): Uint8Array {
    const { streams } = this.#engine;
    switch (frame[0]) {
      case Operation.CreateMessageStream: {
        const { requestId, definition } = decodeCreateMessageStream(frame);
        const { name } = definition;
        const refused = {
          requestId,
          status: StatusCode.InvalidRequest,
          errorMessage: `stream "${name}" already exists`,
        };
        if (streams.has(name)) return encodeCreateMessageStreamResponse(refused);
        this.#engine.create(name).definition = definition;
        return encodeCreateMessageStreamResponse(success(requestId));
      }
      case Operation.UpdateMessageStream: {
        const { requestId, definition } = decodeUpdateMessageStream(frame);
        streams.get(definition.name)!.definition = definition;
        return encodeUpdateMessageStreamResponse(success(requestId));
      }
      case Operation.DeleteMessageStream: {
        const { requestId, name } = decodeDeleteMessageStream(frame);
        const status = streams.delete(name) ? StatusCode.Success : StatusCode.ResourceNotFound;
        return encodeDeleteMessageStreamResponse({ requestId, status, errorMessage: "" });
      }
      case Operation.AppendMessage: {
        const { requestId, name, payload } = decodeAppendMessage(frame);
        const sequenceNumber = this.#engine.store(streams.get(name)!, [payload]);
        return encodeAppendMessageResponse({ ...success(requestId), sequenceNumber });
      }
      case Operation.ReadMessages:
        return this.#readMessages(frame);
      case Operation.ListStreams: {
        const { requestId } = decodeListStreams(frame);
        return encodeListStreamsResponse({ ...success(requestId), streams: [...streams.keys()] });
      }
      case Operation.DescribeMessageStream: {
        const { requestId, name } = decodeDescribeMessageStream(frame);
        const { definition, oldest, payloads } = streams.get(name)!;
        const storageStatus = {
          oldestSequenceNumber: oldest,
          newestSequenceNumber: payloads.length - 1,
          totalBytes: payloads.reduce((sum, payload) => sum + payload.length, 0),
        };
        return encodeDescribeMessageStreamResponse({
          ...success(requestId),
          messageStreamInfo: { definition, storageStatus, exportStatuses: [] },
        });
      }
      default:
        return encodeUnknownOperationError({ requestId: findRequestId(frame)!, operation: frame[0]! });
    }
  }

  #readMessages(frame: Uint8Array): Uint8Array {
    const { requestId, streamName, options } = decodeReadMessages(frame);
    const start = options.desiredStartSequenceNumber;
    const payloads = this.#engine.streams
      .get(streamName)!
      .payloads.slice(start, start + options.maxMessageCount);
    if (payloads.length < options.minMessageCount) {
      const status = StatusCode.NotEnoughMessages;
      return encodeReadMessagesResponse({ requestId, status, errorMessage: "too few" });
    }
    const messages = payloads.map((payload, index) => ({
      streamName,
      sequenceNumber: start + index,
      ingestTime: INGEST_TIME_MS,
      payload,
    }));
    return encodeReadMessagesResponse({ ...success(requestId), messages });
  }
}

function payloadsOf(frame: Uint8Array, messagesAt: number): Uint8Array[] {
  const payloads: Uint8Array[] = [];
  for (let at = messagesAt; at < frame.length;) {
    const length = readU32(frame, at);
    payloads.push(frame.subarray(at + 4, at + 4 + length));
    at += 4 + length;
  }
  return payloads;
}

function joined(payloads: readonly Uint8Array[]): Uint8Array {
  const bytes = new Uint8Array(payloads.reduce((sum, payload) => sum + 4 + payload.length, 0));
  let at = 0;
  for (const payload of payloads) {
    writeU32(bytes, at, payload.length);
    bytes.set(payload, at + 4);
    at += 4 + payload.length;
  }
  return bytes;
}

/** An error as a socket reports it when its peer is gone. */
export function connectionLost(): MillraceError {
  return new MillraceError("CONNECTION_CLOSED", "Connection closed: 1006");
}
