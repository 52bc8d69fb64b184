import { MillraceError } from "../core/errors.ts";
import { PRODUCERS_PER_STREAM_MAX } from "../core/limits.ts";

/**
 * Which connection speaks for each producer of a stream: the newest one that has used its id. When a producer gives up a
 * connection, batches may still lie in it unread. Taken after the same batches came over the next connection they would be
 * repeats or gaps; but a batch that was refused there gives its number to another one, and then they would take its place.
 */
export class ProducerSessions {
  /** By producer, the one whose batch is longest ago first. Sessions are numbered as they are opened. */
  readonly #sessions = new Map<number, number>();
  #newestProducerId = 0;

  /** @throws {MillraceError} INVALID_REQUEST when a later session has sent batches of this producer */
  claim(producerId: number, sessionId: number): void {
    const owner = this.#sessions.get(producerId);
    if (owner !== undefined && owner > sessionId) {
      const text = `Cannot append a batch of producer ${producerId}: it has sent others over a later connection`;
      throw new MillraceError("INVALID_REQUEST", text);
    }
    if (owner === sessionId && this.#newestProducerId === producerId) return;
    this.#sessions.delete(producerId);
    this.#sessions.set(producerId, sessionId);
    this.#newestProducerId = producerId;
    if (this.#sessions.size > PRODUCERS_PER_STREAM_MAX) this.#forgetOldest();
  }

  /** As the stream itself forgets the producer whose batch is longest ago. */
  #forgetOldest(): void {
    for (const producerId of this.#sessions.keys()) {
      this.#sessions.delete(producerId);
      return;
    }
  }
}
