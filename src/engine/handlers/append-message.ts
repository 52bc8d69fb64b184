import { MillraceError } from "../../core/errors.ts";
import { MESSAGE_OVERHEAD_BYTES } from "../../core/limits.ts";
import type { StreamRequest } from "../../stream/pending-requests.ts";
import { type AppendMessage, encodeAppendMessageResponse } from "../../wire/append-message.ts";
import { Operation } from "../../wire/operation.ts";
import { success } from "../../wire/reply.ts";
import type { ClientState } from "../client-state.ts";
import type { EngineContext } from "../engine-context.ts";
import { replyFailure } from "../failure-reply.ts";
import type { StreamEntry } from "../stream-entry.ts";

/** AppendMessage (4): one message, answered when it is committed. */
export function handleAppendMessage(
  engine: EngineContext,
  client: ClientState,
  { requestId, name, payload }: AppendMessage,
): void {
  if (payload.length > engine.messageBytesMax) {
    const text = `Cannot append a message of ${payload.length} bytes: at most ${engine.messageBytesMax}`;
    throw new MillraceError("MESSAGE_TOO_LARGE", text);
  }
  const entry = engine.catalog.get(name);
  const proxy = engine.workers.proxy(entry.workerIndex);
  proxy.assertRoom();
  const request = new PendingAppendMessage(
    client,
    entry,
    requestId,
    payload.length,
    engine.clock.monotonicMs(),
  );
  if (!proxy.appendOne(request, entry.slot, payload)) engine.waitForRoom(client, entry.workerIndex);
}

class PendingAppendMessage implements StreamRequest {
  readonly askedMs: number;
  readonly #client: ClientState;
  readonly #entry: StreamEntry;
  readonly #requestId: string;
  readonly #payloadBytes: number;

  constructor(
    client: ClientState,
    entry: StreamEntry,
    requestId: string,
    payloadBytes: number,
    askedMs: number,
  ) {
    this.#client = client;
    this.#entry = entry;
    this.#requestId = requestId;
    this.#payloadBytes = payloadBytes;
    this.askedMs = askedMs;
    client.begin(payloadBytes + MESSAGE_OVERHEAD_BYTES);
  }

  onAppended(sequenceNumber: number): void {
    this.#client.end(this.#payloadBytes + MESSAGE_OVERHEAD_BYTES);
    this.#entry.appendedMessageCount += 1;
    this.#entry.appendedBytes += this.#payloadBytes;
    this.#client.session.send(encodeAppendMessageResponse({ ...success(this.#requestId), sequenceNumber }));
  }

  onFailed(error: MillraceError): void {
    this.#client.end(this.#payloadBytes + MESSAGE_OVERHEAD_BYTES);
    this.#entry.refusedCount += 1;
    replyFailure(this.#client, { operation: Operation.AppendMessage, requestId: this.#requestId }, error);
  }
}
