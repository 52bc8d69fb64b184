import { type MillraceError, asMillraceError } from "../../core/errors.ts";
import { READ_CHUNK_BYTES_MAX, READ_REPLY_BYTES_MAX, READ_WAIT_MS_MAX } from "../../core/limits.ts";
import { MESSAGE_LENGTH_BYTES, readLength } from "../../core/message-framing.ts";
import type { Message } from "../../core/stream-definition.ts";
import type { StreamRequest } from "../../stream/pending-requests.ts";
import type { ReceivedRecords } from "../../stream/records-decoder.ts";
import { Operation } from "../../wire/operation.ts";
import { type ReadMessages, encodeReadMessagesResponse } from "../../wire/read-messages.ts";
import { success } from "../../wire/reply.ts";
import type { ClientRead, ClientState } from "../client-state.ts";
import type { EngineContext } from "../engine-context.ts";
import { replyFailure } from "../failure-reply.ts";

/** ReadMessages (5): waits in the worker until the minimum is there or the time is over. */
export function handleReadMessages(engine: EngineContext, client: ClientState, request: ReadMessages): void {
  // Refused at once, not when its turn comes.
  engine.catalog.get(request.streamName);
  client.addRead(new PendingRead(engine, client, request));
}

class PendingRead implements StreamRequest, ClientRead {
  readonly #engine: EngineContext;
  readonly #client: ClientState;
  readonly #requestId: string;
  readonly #streamName: string;
  readonly #options: ReadMessages["options"];
  readonly #deadlineMs: number;
  readonly #messages: Message[] = [];
  #onCancel: (() => void) | undefined;

  constructor(engine: EngineContext, client: ClientState, { requestId, streamName, options }: ReadMessages) {
    this.#engine = engine;
    this.#client = client;
    this.#requestId = requestId;
    this.#streamName = streamName;
    this.#options = options;
    // A reply after the client's own 60 s limit would end the reader of the Python client for good.
    const waitMs = Math.min(options.readTimeoutMillis, READ_WAIT_MS_MAX);
    this.#deadlineMs = engine.clock.monotonicMs() + waitMs;
  }

  start(): void {
    try {
      const entry = this.#engine.catalog.get(this.#streamName);
      const proxy = this.#engine.workers.proxy(entry.workerIndex);
      proxy.assertRoom();
      const token = proxy.read(this, {
        slot: entry.slot,
        fromSequence: this.#options.desiredStartSequenceNumber,
        min: this.#options.minMessageCount,
        max: this.#options.maxMessageCount,
        // Shared by the reads that run, so that one connection cannot have many large replies made at once.
        bytesMax: Math.max(
          READ_CHUNK_BYTES_MAX,
          Math.floor(READ_REPLY_BYTES_MAX / this.#client.runningReadCount),
        ),
        timeoutMs: Math.max(0, Math.round(this.#deadlineMs - this.#engine.clock.monotonicMs())),
      });
      this.#onCancel = () => proxy.cancel(token);
    } catch (thrown) {
      this.onFailed(asMillraceError(thrown));
    }
  }

  onRecords(records: ReceivedRecords): void {
    collectMessages(this.#streamName, records, this.#messages);
    if (!records.isLast) return;
    const reply = { ...success(this.#requestId), messages: this.#messages };
    this.#client.session.send(encodeReadMessagesResponse(reply));
    this.#client.endRead(this);
  }

  onFailed(error: MillraceError): void {
    replyFailure(this.#client, { operation: Operation.ReadMessages, requestId: this.#requestId }, error);
    this.#client.endRead(this);
  }

  cancel(): void {
    this.#onCancel?.();
  }
}

/** Copies, because what came up lies in the ring. */
export function collectMessages(streamName: string, records: ReceivedRecords, into: Message[]): void {
  const bytes = Uint8Array.prototype.slice.call(records.messages);
  let sequenceNumber = records.firstSequence;
  let at = 0;
  for (const run of records.runs) {
    for (let left = run.messageCount; left > 0; left--) {
      const length = readLength(bytes, at);
      const payload = bytes.subarray(at + MESSAGE_LENGTH_BYTES, at + MESSAGE_LENGTH_BYTES + length);
      into.push({ streamName, sequenceNumber, ingestTime: run.ingestMs, payload });
      sequenceNumber += 1;
      at += MESSAGE_LENGTH_BYTES + length;
    }
  }
}
