import type { MillraceError } from "../../core/errors.ts";
import { READ_REPLY_BYTES_MAX, READ_WAIT_MS_MAX } from "../../core/limits.ts";
import { MESSAGE_LENGTH_BYTES, readLength } from "../../core/message-framing.ts";
import type { Message } from "../../core/stream-definition.ts";
import type { StreamRequest } from "../../stream/pending-requests.ts";
import type { ReceivedRecords } from "../../stream/records-decoder.ts";
import { Operation } from "../../wire/operation.ts";
import { decodeReadMessages, encodeReadMessagesResponse } from "../../wire/read-messages.ts";
import { success } from "../../wire/reply.ts";
import type { Cancellable, ClientState } from "../client-state.ts";
import type { EngineContext } from "../engine-context.ts";
import { replyFailure } from "../failure-reply.ts";

/** ReadMessages (5): waits in the worker until the minimum is there or the time is over. */
export function handleReadMessages(engine: EngineContext, client: ClientState, frame: Uint8Array): void {
  const { requestId, streamName, options } = decodeReadMessages(frame);
  const entry = engine.catalog.get(streamName);
  const proxy = engine.workers.proxy(entry.workerIndex);
  const request = new PendingRead(client, { requestId, streamName });
  const token = proxy.read(request, {
    slot: entry.slot,
    fromSequence: options.desiredStartSequenceNumber,
    min: options.minMessageCount,
    max: options.maxMessageCount,
    bytesMax: READ_REPLY_BYTES_MAX,
    // A reply after the client's own 60 s limit would end the reader of the Python client for good.
    timeoutMs: Math.min(options.readTimeoutMillis, READ_WAIT_MS_MAX),
  });
  request.onCancel = () => proxy.cancel(token);
}

class PendingRead implements StreamRequest, Cancellable {
  onCancel: (() => void) | undefined;
  readonly #client: ClientState;
  readonly #requestId: string;
  readonly #streamName: string;
  readonly #messages: Message[] = [];

  constructor(client: ClientState, what: { requestId: string; streamName: string }) {
    this.#client = client;
    this.#requestId = what.requestId;
    this.#streamName = what.streamName;
    client.reads.add(this);
  }

  onRecords(records: ReceivedRecords): void {
    collectMessages(this.#streamName, records, this.#messages);
    if (!records.isLast) return;
    this.#client.reads.delete(this);
    const reply = { ...success(this.#requestId), messages: this.#messages };
    this.#client.session.send(encodeReadMessagesResponse(reply));
  }

  onFailed(error: MillraceError): void {
    this.#client.reads.delete(this);
    replyFailure(this.#client, { operation: Operation.ReadMessages, requestId: this.#requestId }, error);
  }

  cancel(): void {
    this.onCancel?.();
  }
}

/** Copies, because what came up lies in the ring. */
function collectMessages(streamName: string, records: ReceivedRecords, into: Message[]): void {
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
