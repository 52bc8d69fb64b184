import { type MillraceError, SequenceGapError, asMillraceError } from "../../core/errors.ts";
import { MESSAGE_OVERHEAD_BYTES } from "../../core/limits.ts";
import { MESSAGE_LENGTH_BYTES } from "../../core/message-framing.ts";
import type { StreamRequest } from "../../stream/pending-requests.ts";
import { APPEND_FLAG_LZ4, APPEND_FLAG_PRODUCER } from "../../stream/stream-channel.ts";
import { readAppendBatchHeader } from "../../wire/append-batch-layout.ts";
import { failureText } from "../../wire/reply-status.ts";
import { assertOpen } from "../catalog.ts";
import type { ClientState } from "../client-state.ts";
import type { EngineContext } from "../engine-context.ts";
import type { StreamEntry } from "../stream-entry.ts";

/** AppendBatch (66): the hot path. The batch goes from the socket's buffer into the ring in one copy and is not looked at. */
export function handleAppendBatch(engine: EngineContext, client: ClientState, frame: Uint8Array): void {
  const header = client.header;
  try {
    readAppendBatchHeader(frame, header);
    const entry = client.stream(header.handle, "append");
    assertOpen(entry);
    if (header.hasProducer) entry.producerSessions.claim(header.producerId, client.session.id);
    const proxy = engine.workers.proxy(entry.workerIndex);
    proxy.assertRoom();
    const { requestId, rawSizeBytes, messageCount, messagesAt, producerId, producerSequence } = header;
    const request = new PendingAppendBatch(engine, client, entry, { requestId, rawSizeBytes, messageCount });
    const flags = (header.isLz4 ? APPEND_FLAG_LZ4 : 0) | (header.hasProducer ? APPEND_FLAG_PRODUCER : 0);
    const { slot } = entry;
    const to = { slot, flags, rawBytes: rawSizeBytes, messageCount, producerId, producerSequence };
    if (!proxy.append(request, to, frame.subarray(messagesAt))) engine.waitForRoom(client, entry.workerIndex);
  } catch (thrown) {
    addFailure(engine, client, header.requestId, asMillraceError(thrown));
  }
}

class PendingAppendBatch implements StreamRequest {
  readonly askedMs: number;
  readonly #engine: EngineContext;
  readonly #client: ClientState;
  readonly #entry: StreamEntry;
  readonly #requestId: number;
  readonly #messageCount: number;
  readonly #rawSizeBytes: number;

  constructor(
    engine: EngineContext,
    client: ClientState,
    entry: StreamEntry,
    batch: { requestId: number; rawSizeBytes: number; messageCount: number },
  ) {
    this.#engine = engine;
    this.#client = client;
    this.#entry = entry;
    this.#requestId = batch.requestId;
    this.#messageCount = batch.messageCount;
    this.#rawSizeBytes = batch.rawSizeBytes;
    this.askedMs = engine.clock.monotonicMs();
    client.begin(batch.rawSizeBytes + MESSAGE_OVERHEAD_BYTES);
  }

  onAppended(firstSequence: number, isRepeat: boolean): void {
    this.#client.end(this.#rawSizeBytes + MESSAGE_OVERHEAD_BYTES);
    if (isRepeat) this.#entry.repeatedMessageCount += this.#messageCount;
    else {
      this.#entry.appendedMessageCount += this.#messageCount;
      this.#entry.appendedBytes += this.#rawSizeBytes - this.#messageCount * MESSAGE_LENGTH_BYTES;
    }
    const { results, session } = this.#client;
    results.addSuccess(this.#requestId, firstSequence);
    if (results.isFull) session.send(results.take());
    else this.#engine.markReplying(this.#client);
  }

  onFailed(error: MillraceError): void {
    this.#client.end(this.#rawSizeBytes + MESSAGE_OVERHEAD_BYTES);
    this.#entry.refusedCount += 1;
    addFailure(this.#engine, this.#client, this.#requestId, error);
  }
}

function addFailure(
  engine: EngineContext,
  client: ClientState,
  requestId: number,
  error: MillraceError,
): void {
  const expectedSequence = error instanceof SequenceGapError ? error.expectedSequence : 0;
  client.results.addFailure(requestId, error.ownStatus, failureText(error), expectedSequence);
  if (client.results.isFull) client.session.send(client.results.take());
  else engine.markReplying(client);
}
