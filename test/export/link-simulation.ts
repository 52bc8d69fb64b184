import assert from "node:assert/strict";
import type { ExporterOptions } from "../../src/core/exporter-options.ts";
import { Persistence, type KinesisConfig } from "../../src/core/stream-definition.ts";
import { streamOptionsDefault } from "../../src/core/stream-options.ts";
import type { Timers } from "../../src/core/timers.ts";
import { AccountKeeper } from "../../src/export/account-keeper.ts";
import type { SendFailure } from "../../src/export/destinations/destination.ts";
import type { BatchResult, BatchTask, ExportResult, ExportTask } from "../../src/export/export-channel.ts";
import { ExportManager } from "../../src/export/export-manager.ts";
import type { TaskPool } from "../../src/export/export-pool.ts";
import { fileStorage } from "../../src/log/file-storage.ts";
import type { Logger } from "../../src/observe/logger.ts";
import { silentLogger } from "../../src/observe/logger.ts";
import { ManualClock, SeededRandom } from "../support/deterministic.ts";
import { testSeed } from "../support/seeded-random.ts";
import { definitionWith } from "../support/stream-fixture.ts";

/** A request on its way, or through. */
export interface SimRequest {
  readonly exporter: string;
  readonly messages: number;
  readonly bodyBytes: number;
  readonly startMs: number;
  /** When the other side had all of it. */
  arrivedMs: number;
  leftBytes: number;
}

interface SimEvent {
  readonly atMs: number;
  readonly action: () => void;
}

interface SimStream {
  readonly messageBytes: number;
  readonly batchSize: number;
  /** Requests that a task sends at once. */
  readonly inFlightMax: number;
  messages: number;
}

export interface LinkOptions {
  readonly kbitPerSecond: number;
  /** Between the last byte of a request and its answer. */
  readonly roundTripMs: number;
  /** Most that a request is later than others of its time. */
  readonly jitterMs?: number;
  readonly slots?: number;
  /** The cap over all exporters. */
  readonly kbitPerSecondMax?: number;
  readonly logger?: Logger;
}

/** What a record costs beside its payload, as in a request to Kinesis. */
const RECORD_OVERHEAD_BYTES = 66;

/**
 * The real manager, scheduler and exporters, with a link in place of the export workers: requests share its bandwidth evenly,
 * and each is answered a round trip after its last byte. Time is discrete events under a manual clock.
 */
export class LinkSimulation implements TaskPool, Timers {
  readonly clock = new ManualClock();
  readonly random = new SeededRandom(testSeed);
  readonly manager: ExportManager;
  readonly requests: SimRequest[] = [];
  /** What becomes of the next task at once, without the link; undefined where the link takes it. */
  outage: ((task: BatchTask) => SendFailure | "never" | undefined) | undefined;
  /** Of the messages of each request, refused for now. */
  throttledPart = 0;
  attempts = 0;
  readonly #options: LinkOptions;
  readonly #streams = new Map<string, SimStream>();
  readonly #events = new Set<SimEvent>();
  readonly #timers = new Set<SimEvent>();
  #flows: { readonly request: SimRequest; readonly done: () => void }[] = [];
  #flowedAtMs = 0;
  /** When the next of them is through. */
  #flowEvent: SimEvent | undefined;

  constructor(options: LinkOptions) {
    this.#options = options;
    this.manager = new ExportManager({
      clock: this.clock,
      random: this.random,
      storage: fileStorage,
      storeDirectory: "/nowhere",
      threadPoolSize: options.slots ?? 5,
      kbitPerSecondMax: options.kbitPerSecondMax,
      logger: options.logger ?? silentLogger,
      timers: this,
      pool: this,
      keepAside: () => Promise.reject(new Error("nothing is set aside here")),
    });
  }

  /** A stream in memory with one exporter, both of that name. */
  addStream(
    name: string,
    {
      messageBytes = 160,
      batchSize = 500,
      ...config
    }: Partial<KinesisConfig> & { readonly messageBytes?: number },
    options: ExporterOptions = {},
  ): void {
    const { inFlightMax = 1 } = options;
    this.#streams.set(name, { messageBytes, batchSize, inFlightMax, messages: 0 });
    this.manager.addStream({
      streamId: name,
      name,
      directory: `/nowhere/${name}`,
      definition: definitionWith([{ identifier: name, kinesisStreamName: name, batchSize, ...config }], {
        persistence: Persistence.Memory,
      }),
      options: { ...streamOptionsDefault, exporters: { [name]: options } },
      drops: () => [],
      memory: () => [],
    });
    this.fill(name, 0);
  }

  /** So many more messages of the stream may be sent. */
  fill(name: string, messages: number): void {
    const stream = this.#streams.get(name)!;
    stream.messages += messages;
    const end = stream.messages * stream.messageBytes;
    this.manager.onProgress(name, {
      oldestSequence: 0,
      oldestPayloadOffset: 0,
      syncedEndSequence: stream.messages,
      syncedEndPayloadOffset: end,
      nextSequence: stream.messages,
      nextPayloadOffset: end,
    });
  }

  /** Timers of the manager that are set. */
  get timerCount(): number {
    return this.#timers.size;
  }

  get nowMs(): number {
    return this.clock.monotonicMs();
  }

  setTimer(action: () => void, delayMs: number): () => void {
    assert.ok(delayMs > 0, `a timer of ${delayMs} ms`);
    const event: SimEvent = {
      atMs: this.nowMs + delayMs,
      action: () => {
        this.#timers.delete(event);
        action();
      },
    };
    this.#events.add(event);
    this.#timers.add(event);
    return () => {
      this.#events.delete(event);
      this.#timers.delete(event);
    };
  }

  async run(task: ExportTask): Promise<ExportResult> {
    assert.equal(task.kind, "batch");
    this.attempts += 1;
    const fate = this.outage?.(task);
    if (fate === "never") return new Promise(() => undefined);
    if (fate !== undefined) {
      await this.#after(this.#options.roundTripMs);
      return resultOf(task, { outcome: fate, requests: { bodyBytes: 0, payloadBytes: 0, countedBytes: 0 } });
    }
    const stream = this.#streams.get(task.streamName)!;
    const groups = groupsOf(task, stream);
    const startMs = this.nowMs;
    const sent = groups.map(async (messages) => {
      const bodyBytes = messages * (stream.messageBytes + RECORD_OVERHEAD_BYTES);
      const exporter = task.identifier;
      await this.#send({ exporter, messages, bodyBytes, startMs, arrivedMs: Infinity, leftBytes: bodyBytes });
    });
    await Promise.all(sent);
    const sentMessages = groups.reduce((sum, count) => sum + count, 0);
    const failedMessages = Math.floor(sentMessages * this.throttledPart);
    const messages = sentMessages - failedMessages;
    const payloadBytes = messages * stream.messageBytes;
    const account = new AccountKeeper(task.cursor);
    account.accept({ messages, payloadBytes }, this.clock.nowMs());
    const accepted = { acceptedMessages: messages, acceptedBytes: payloadBytes, failedMessages };
    const bodyBytes = payloadBytes + messages * RECORD_OVERHEAD_BYTES;
    return resultOf(
      { ...task, cursor: account.cursor },
      {
        outcome: { kind: "sent", ...accepted, error: "" },
        requests: { bodyBytes, payloadBytes, countedBytes: bodyBytes },
      },
    );
  }

  close(): Promise<void> {
    return Promise.resolve();
  }

  /** Lets `ms` pass, event by event. */
  async pass(ms: number): Promise<void> {
    const endMs = this.nowMs + ms;
    await settle();
    for (let next = this.#next(); next !== undefined && next.atMs <= endMs; next = this.#next()) {
      this.clock.advance(Math.max(0, next.atMs - this.nowMs));
      this.#events.delete(next);
      next.action();
      await settle();
    }
    this.clock.advance(endMs - this.nowMs);
  }

  #next(): SimEvent | undefined {
    let first: SimEvent | undefined;
    for (const event of this.#events) if (first === undefined || event.atMs < first.atMs) first = event;
    return first;
  }

  #after(ms: number): Promise<void> {
    return new Promise((resolve) => this.#events.add({ atMs: this.nowMs + ms, action: resolve }));
  }

  async #send(request: SimRequest): Promise<void> {
    this.requests.push(request);
    this.#flow();
    await new Promise<void>((done) => {
      this.#flows.push({ request, done });
      this.#planFlow();
    });
    const { roundTripMs, jitterMs = 0 } = this.#options;
    const lateMs = jitterMs * this.random.fraction();
    request.arrivedMs = this.nowMs + roundTripMs / 2 + lateMs;
    await this.#after(roundTripMs + lateMs);
  }

  /** Each request on the link gets an even part of it. */
  #flow(): void {
    const share = ((this.nowMs - this.#flowedAtMs) * this.#options.kbitPerSecond) / 8 / this.#flows.length;
    for (const { request } of this.#flows) request.leftBytes -= share;
    this.#flowedAtMs = this.nowMs;
    // Less than a clock of days can tell.
    const done = this.#flows.filter(({ request }) => request.leftBytes <= 0.01);
    this.#flows = this.#flows.filter((flow) => !done.includes(flow));
    for (const flow of done) flow.done();
  }

  #planFlow(): void {
    const leastBytes = Math.min(...this.#flows.map(({ request }) => request.leftBytes));
    if (!Number.isFinite(leastBytes)) return;
    const atMs =
      this.nowMs + (Math.max(0, leastBytes) * this.#flows.length * 8) / this.#options.kbitPerSecond;
    const action = (): void => {
      this.#flow();
      this.#planFlow();
    };
    if (this.#flowEvent !== undefined) this.#events.delete(this.#flowEvent);
    this.#flowEvent = { atMs, action };
    this.#events.add(this.#flowEvent);
  }
}

/** How many messages each request of a task holds: what bytes and stream allow, but one at least. */
function groupsOf(
  { cursor, syncedEnd, requestBytesMax }: BatchTask,
  { messageBytes, batchSize, inFlightMax }: SimStream,
): number[] {
  const groups: number[] = [];
  const fitting = Math.max(1, Math.floor(requestBytesMax / (messageBytes + RECORD_OVERHEAD_BYTES)));
  for (let left = syncedEnd.sequence - cursor.position; left > 0 && groups.length < inFlightMax;) {
    const messages = Math.min(left, batchSize, fitting);
    groups.push(messages);
    left -= messages;
  }
  return groups;
}

function resultOf(
  { cursor, pending }: Pick<BatchTask, "cursor" | "pending">,
  ended: Pick<BatchResult, "outcome" | "requests">,
): BatchResult {
  const nothing = {
    isStartSettled: false,
    condemned: [],
    file: undefined,
    cursorError: "",
  };
  return { kind: "batch", cursor, pending, ...nothing, ...ended };
}

/** Everything that follows from an event without time passing. */
function settle(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
