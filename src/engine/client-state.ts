import {
  CLIENT_IN_FLIGHT_REQUESTS_MAX,
  FORBIDDEN_PAUSE_MS,
  FORBIDDEN_REQUESTS_PER_PAUSE,
  HANDLES_PER_CONNECTION_MAX,
  OUTBOUND_BUFFERED_BYTES_MAX,
  READS_PER_CONNECTION_MAX,
  READS_WAITING_PER_CONNECTION_MAX,
  SUBSCRIPTIONS_PER_CONNECTION_MAX,
} from "../core/limits.ts";
import type { StreamRight } from "../core/access-rights.ts";
import { MillraceError } from "../core/errors.ts";
import type { Timers } from "../core/timers.ts";
import { AppendResultWriter } from "../wire/append-batch-result-layout.ts";
import { createAppendBatchHeader } from "../wire/append-batch-layout.ts";
import { type NeededRight, isAllowed, refusal } from "./access-check.ts";
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

/** A stream by a handle, and what may be done by it: worked out once, since each append asks. */
interface OpenedStream extends Readonly<Record<HandleRight, boolean>> {
  readonly entry: StreamEntry;
}

/** What needs a handle. */
type HandleRight = Exclude<StreamRight, "manage">;

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
  readonly #handles: OpenedStream[] = [];
  readonly #inFlightBytesMax: number;
  readonly #timers: Timers;
  #forbiddenCount = 0;
  #cancelForgiving: (() => void) | undefined;
  #inFlightBytes = 0;
  #inFlightCount = 0;
  #isPaused = false;

  constructor(session: ClientSession, options: { inFlightBytesMax: number; timers: Timers }) {
    this.session = session;
    this.#timers = options.timers;
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
    const { rights } = this.session.principal;
    const { name } = entry.definition;
    const opened = { entry, append: rights.allows("append", name), read: rights.allows("read", name) };
    return this.#handles.push(opened) - 1;
  }

  /** The stream of a handle, for whoever may do this with it. @throws {MillraceError} UNKNOWN_HANDLE, UNAUTHORIZED */
  stream(handle: number, right: HandleRight): StreamEntry {
    const opened = this.#handles[handle];
    if (opened === undefined) {
      throw new MillraceError("UNKNOWN_HANDLE", `Handle ${handle} was not opened on this connection`);
    }
    if (!opened[right]) throw this.#forbid(right, opened.entry.definition.name);
    return opened.entry;
  }

  /** @throws {MillraceError} UNAUTHORIZED */
  assertAllowed(right: NeededRight, stream: string): void {
    if (!isAllowed(this.session.principal, right, stream)) throw this.#forbid(right, stream);
  }

  /** A refusal costs as much as what is refused: whoever goes on asking is read more slowly, and the others are not. */
  #forbid(right: NeededRight, stream: string): MillraceError {
    this.#forbiddenCount += 1;
    if (this.#forbiddenCount >= FORBIDDEN_REQUESTS_PER_PAUSE && this.#cancelForgiving === undefined) {
      this.session.pause("forbidden");
      this.#cancelForgiving = this.#timers.setTimer(() => {
        this.#cancelForgiving = undefined;
        this.#forbiddenCount = 0;
        this.session.resume("forbidden");
      }, FORBIDDEN_PAUSE_MS);
    }
    return refusal(this.session.principal, right, stream);
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
    this.#cancelForgiving?.();
    for (const subscription of this.subscriptions.values()) subscription.cancel();
    for (const read of this.#reads) read.cancel();
    this.subscriptions.clear();
    this.#waitingReads.length = 0;
    this.#reads.clear();
  }
}
