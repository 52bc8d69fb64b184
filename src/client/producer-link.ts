import type { Batch } from "./batch.ts";
import type { Environment } from "./environment.ts";

/** What a producer needs to know of its stream on a connection. */
export interface OpenedStream {
  readonly handle: number;
  readonly nextSequence: number;
}

/** What a producer needs of its client. */
export interface ProducerLink {
  readonly environment: Environment;
  /** @throws {MillraceError} STREAM_NOT_FOUND, CONNECTION_CLOSED, … */
  openStream(name: string): Promise<OpenedStream>;
  /** Sends under a fresh request id; the answer comes to the batch's owner unless the connection breaks first. */
  sendBatch(batch: Batch, handle: number): void;
  /** Gives up the present connection and makes a new one. */
  dropConnection(reason: string): void;
  /** The producer is over. */
  release(producer: object): void;
}
