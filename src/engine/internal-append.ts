import { MillraceError } from "../core/errors.ts";
import type { StreamRequest } from "../stream/pending-requests.ts";
import type { EngineContext } from "./engine-context.ts";
import type { StreamEntry } from "./stream-entry.ts";

/**
 * Appends a message of the engine's own, an ordinary one in every respect. Resolves with its sequence number when it is
 * committed, to the medium where the stream flushes on write.
 * @throws {MillraceError} STREAM_NOT_FOUND, STREAM_FULL, STREAM_FENCED, SERVER_BUSY, UNKNOWN_OUTCOME and others of an append
 */
export async function appendInternally(
  engine: EngineContext,
  streamName: string,
  payload: Uint8Array,
): Promise<number> {
  if (payload.length > engine.messageBytesMax) {
    const text = `Cannot append a message of ${payload.length} bytes: at most ${engine.messageBytesMax}`;
    throw new MillraceError("MESSAGE_TOO_LARGE", text);
  }
  const entry = engine.catalog.get(streamName);
  const proxy = engine.workers.proxy(entry.workerIndex);
  proxy.assertRoom();
  return new Promise((resolve, reject) => {
    const askedMs = engine.clock.monotonicMs();
    proxy.appendOne(new InternalAppend({ entry, payload, askedMs, resolve, reject }), entry.slot, payload);
  });
}

interface InternalAppendOptions {
  readonly entry: StreamEntry;
  readonly payload: Uint8Array;
  readonly askedMs: number;
  readonly resolve: (sequenceNumber: number) => void;
  readonly reject: (error: MillraceError) => void;
}

class InternalAppend implements StreamRequest {
  readonly #options: InternalAppendOptions;

  constructor(options: InternalAppendOptions) {
    this.#options = options;
  }

  get askedMs(): number {
    return this.#options.askedMs;
  }

  onAppended(sequenceNumber: number): void {
    const { entry, payload, resolve } = this.#options;
    entry.appendedMessageCount += 1;
    entry.appendedBytes += payload.length;
    resolve(sequenceNumber);
  }

  onFailed(error: MillraceError): void {
    this.#options.entry.refusedCount += 1;
    this.#options.reject(error);
  }
}
