import { asMillraceError, type MillraceError } from "../core/errors.ts";
import { READ_CHUNK_BYTES_MAX } from "../core/limits.ts";
import type { Message } from "../core/stream-definition.ts";
import type { StreamRequest } from "../stream/pending-requests.ts";
import type { ReceivedRecords } from "../stream/records-decoder.ts";
import type { EngineContext } from "./engine-context.ts";
import { collectMessages } from "./handlers/read-messages.ts";
import type { StreamEntry } from "./stream-entry.ts";

const MESSAGES_MAX = 10_000;

/**
 * The messages of an open stream below `endSequence`, a piece at a time, without those that cannot be read.
 * @throws {MillraceError} UNKNOWN_OUTCOME when the stream's worker ends, SERVER_BUSY and others of a read
 */
export async function* readInternally(
  engine: Pick<EngineContext, "workers">,
  entry: StreamEntry,
  { fromSequence, endSequence }: { fromSequence: number; endSequence: number },
): AsyncGenerator<Message> {
  let next = Math.max(fromSequence, entry.progress.oldestSequence);
  while (next < endSequence) {
    const messages = await readPiece(engine, entry, next);
    if (messages.length === 0) return;
    for (const message of messages) {
      if (message.sequenceNumber >= endSequence) return;
      yield message;
      next = message.sequenceNumber + 1;
    }
  }
}

function readPiece(
  { workers }: Pick<EngineContext, "workers">,
  entry: StreamEntry,
  fromSequence: number,
): Promise<Message[]> {
  return new Promise((resolve, reject) => {
    try {
      const proxy = workers.proxy(entry.workerIndex);
      proxy.assertRoom();
      const request = new InternalRead(entry.definition.name, { resolve, reject });
      const bounds = { min: 1, max: MESSAGES_MAX, bytesMax: READ_CHUNK_BYTES_MAX, timeoutMs: 0 };
      proxy.read(request, { slot: entry.slot, fromSequence, ...bounds });
    } catch (thrown) {
      reject(asMillraceError(thrown));
    }
  });
}

class InternalRead implements StreamRequest {
  readonly #streamName: string;
  readonly #asker: { resolve: (messages: Message[]) => void; reject: (error: MillraceError) => void };
  readonly #messages: Message[] = [];

  constructor(
    streamName: string,
    asker: { resolve: (messages: Message[]) => void; reject: (error: MillraceError) => void },
  ) {
    this.#streamName = streamName;
    this.#asker = asker;
  }

  onRecords(records: ReceivedRecords): void {
    collectMessages(this.#streamName, records, this.#messages);
    if (records.isLast) this.#asker.resolve(this.#messages);
  }

  onFailed(error: MillraceError): void {
    // The rest of it was deleted meanwhile, or cannot be read.
    if (error.code === "NOT_ENOUGH_MESSAGES") this.#asker.resolve(this.#messages);
    else this.#asker.reject(error);
  }
}
