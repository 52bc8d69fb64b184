import {
  CLIENT_IN_FLIGHT_REQUESTS_MAX,
  HANDLES_PER_CONNECTION_MAX,
  OUTBOUND_BUFFERED_BYTES_MAX,
  READS_PER_CONNECTION_MAX,
  READS_WAITING_PER_CONNECTION_MAX,
  SUBSCRIPTIONS_PER_CONNECTION_MAX,
} from "../core/limits.ts";
import { MillraceError } from "../core/errors.ts";
import { AppendResultWriter } from "../wire/append-batch-result-layout.ts";
import { createAppendBatchHeader } from "../wire/append-batch-layout.ts";
import type { ClientSession } from "./client-session.ts";
import type { StreamEntry } from "./stream-entry.ts";

/** A running read or subscription of a connection, to be ended with it. */
export interface Cancellable {
  cancel(): void;
}

/** A read, told when it may go to its worker. */
export interface ClientRead extends Cancellable {
  start(): void;
}

/** What the engine keeps for one connection. */
export class ClientState {
  readonly session: ClientSession;
  readonly header = createAppendBatchHeader();
  readonly results = new AppendResultWriter();
  /** By the client's id. */
  readonly subscriptions = new Map<number, Cancellable & { credit(bytes: number): void; resume(): void }>();
  readonly #reads = new Set<ClientRead>();
  /** Reads whose turn comes when those before them are answered and the client has taken the answers. */
  readonly #waitingReads: ClientRead[] = [];
  #isStartingReads = false;
  readonly #handles: StreamEntry[] = [];
  readonly #inFlightBytesMax: number;
  #inFlightBytes = 0;
  #inFlightCount = 0;
  #isPaused = false;

  constructor(session: ClientSession, options: { inFlightBytesMax: number }) {
    this.session = session;
    this.#inFlightBytesMax = options.inFlightBytesMax;
  }

  get inFlightBytes(): number {
    return this.#inFlightBytes;
  }

  openHandle(entry: StreamEntry): number {
    if (this.#handles.length === HANDLES_PER_CONNECTION_MAX) {
      const text = `Cannot open more streams on one connection: at most ${HANDLES_PER_CONNECTION_MAX}`;
      throw new MillraceError("INVALID_REQUEST", text);
    }
    return this.#handles.push(entry) - 1;
  }

  /** @throws {MillraceError} UNKNOWN_HANDLE */
  stream(handle: number): StreamEntry {
    const entry = this.#handles[handle];
    if (entry === undefined) {
      throw new MillraceError("UNKNOWN_HANDLE", `Handle ${handle} was not opened on this connection`);
    }
    return entry;
  }

  assertSubscriptionFree(subscriptionId: number): void {
    if (this.subscriptions.has(subscriptionId)) {
      throw new MillraceError("INVALID_REQUEST", `Subscription ${subscriptionId} exists on this connection`);
    }
    if (this.subscriptions.size < SUBSCRIPTIONS_PER_CONNECTION_MAX) return;
    const text = `Cannot subscribe: ${this.subscriptions.size} subscriptions, at most ${SUBSCRIPTIONS_PER_CONNECTION_MAX}`;
    throw new MillraceError("INVALID_REQUEST", text);
  }

  /** Counts an append on its way to storage; at the limit the connection is no longer read. */
  begin(bytes: number): void {
    this.#inFlightBytes += bytes;
    this.#inFlightCount += 1;
    const isOver =
      this.#inFlightBytes > this.#inFlightBytesMax || this.#inFlightCount > CLIENT_IN_FLIGHT_REQUESTS_MAX;
    if (!isOver || this.#isPaused) return;
    this.#isPaused = true;
    this.session.pause("in-flight");
  }

  end(bytes: number): void {
    this.#inFlightBytes -= bytes;
    this.#inFlightCount -= 1;
    if (!this.#isPaused) return;
    const isUnder =
      this.#inFlightBytes <= this.#inFlightBytesMax / 2 &&
      this.#inFlightCount <= CLIENT_IN_FLIGHT_REQUESTS_MAX / 2;
    if (!isUnder) return;
    this.#isPaused = false;
    this.session.resume("in-flight");
  }

  get runningReadCount(): number {
    return this.#reads.size;
  }

  /** @throws {MillraceError} SERVER_BUSY */
  addRead(read: ClientRead): void {
    if (this.#waitingReads.length === READS_WAITING_PER_CONNECTION_MAX) {
      const text = `Cannot read: ${READS_WAITING_PER_CONNECTION_MAX} reads of this connection wait already`;
      throw new MillraceError("SERVER_BUSY", text);
    }
    this.#waitingReads.push(read);
    this.#startReads();
  }

  endRead(read: ClientRead): void {
    this.#reads.delete(read);
    this.#startReads();
  }

  /** The client has taken what was sent. */
  onDrain(): void {
    this.#startReads();
    for (const subscription of this.subscriptions.values()) subscription.resume();
  }

  #startReads(): void {
    // A read that fails at once ends within its start.
    if (this.#isStartingReads) return;
    this.#isStartingReads = true;
    while (this.#reads.size < READS_PER_CONNECTION_MAX && this.#waitingReads.length > 0) {
      if (this.session.bufferedBytes > OUTBOUND_BUFFERED_BYTES_MAX) break;
      const read = this.#waitingReads.shift()!;
      this.#reads.add(read);
      read.start();
    }
    this.#isStartingReads = false;
  }

  close(): void {
    for (const subscription of this.subscriptions.values()) subscription.cancel();
    for (const read of this.#reads) read.cancel();
    this.subscriptions.clear();
    this.#waitingReads.length = 0;
    this.#reads.clear();
  }
}
