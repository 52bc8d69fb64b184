import { encodeAppendBatch } from "../../src/wire/append-batch-layout.ts";
import { decodeAppendBatchResult } from "../../src/wire/append-batch-result-layout.ts";
import { decodeAppendMessageResponse, encodeAppendMessage } from "../../src/wire/append-message.ts";
import { decodeOpenStreamResult, encodeOpenStream } from "../../src/wire/open-stream-layout.ts";
import { Operation } from "../../src/wire/operation.ts";
import type { Random } from "../../src/core/random.ts";
import { StatusCode } from "../../src/core/status-code.ts";
import { openTcpLink, openWebSocketLink, type FrameLink } from "../support/frame-link.ts";
import { encodePackedBatch } from "../support/packed-batch.ts";
import type { AppendChecker, FailureKind, SentBatch } from "./append-checker.ts";

export interface LoadProducerOptions {
  readonly name: string;
  readonly checker: AppendChecker;
  readonly transport: "websocket" | "tcp";
  /** Requests on their way. */
  readonly windowMax: number;
  readonly random: Random;
  /** Refusals that end the load without being a fault: what they concern was not stored, and nothing after it. */
  readonly endsWith?: RegExp;
  /** The storage is expected to fail: answers that say so are told to the checker, and the load goes on with the next messages. */
  readonly meetsFaults?: boolean;
  /** What a batch may hold at most; 24 by default. */
  readonly batchMessagesMax?: number;
}

const BATCH_MESSAGES_MAX = 24;
/** Whoever is refused waits this long, as a producer in its senses does. */
const REFUSED_PAUSE_MS = 2;

/** Appends numbered messages as fast as its window allows, tells its checker everything, and begins again where it was cut off. */
export class LoadProducer {
  readonly #options: LoadProducerOptions;
  readonly #inFlight = new Map<number, SentBatch>();
  #link: FrameLink | undefined;
  #handle = 0;
  #nextRequestId = 1;
  #nextCounter = 0;
  #isStopping = false;
  #isPausing = false;
  #onIdle: (() => void) | undefined;
  #onAnswered: (() => void) | undefined;
  /** Answers of any kind, and the texts of those since `start` that were no acknowledgements, each once. */
  answeredCount = 0;
  acknowledgedCount = 0;
  readonly failureTexts = new Set<string>();

  constructor(options: LoadProducerOptions) {
    this.#options = options;
  }

  get name(): string {
    return this.#options.name;
  }

  /** Connects and starts to append. */
  async start(engine: { port: number; token: string | undefined }): Promise<void> {
    const { transport, checker, name } = this.#options;
    const opened = new Promise<void>((resolve) => (this.#onOpened = resolve));
    const open = transport === "tcp" ? openTcpLink : openWebSocketLink;
    this.#link = await open({ ...engine, onFrame: (frame) => this.#onFrame(frame) });
    this.#isStopping = false;
    this.#isPausing = false;
    this.failureTexts.clear();
    if (transport === "websocket") {
      this.#link.send(encodeOpenStream({ requestId: 0, name: checker.stream }));
      await Promise.race([opened, this.#link.closed]);
    }
    void this.#link.closed.then(() => {
      this.#isStopping = true;
      this.#inFlight.clear();
      this.#nextCounter = checker.interrupted(name);
    });
    this.#pump();
  }

  /** Resolves when the connection has ended. */
  async ended(): Promise<void> {
    await this.#link?.closed;
  }

  /** Sends no more, waits for every answer, and closes. */
  async drain(): Promise<void> {
    this.#isStopping = true;
    if (this.#inFlight.size > 0) {
      const idle = new Promise<void>((resolve) => (this.#onIdle = resolve));
      await Promise.race([idle, this.#link?.closed]);
    }
    this.#link?.destroy();
    await this.ended();
  }

  /** Resolves when `isEnough` holds after an answer, or when the connection has ended. @returns whether it held */
  async until(isEnough: (producer: this) => boolean): Promise<boolean> {
    for (let isClosed = false; !isClosed && !isEnough(this);) {
      const answered = new Promise<false>((resolve) => (this.#onAnswered = () => resolve(false)));
      isClosed = await Promise.race([answered, this.ended().then(() => true)]);
    }
    return isEnough(this);
  }

  #onOpened: (() => void) | undefined;

  #pump(): void {
    while (!this.#isStopping && !this.#isPausing && this.#inFlight.size < this.#options.windowMax)
      this.#sendOne();
  }

  #sendOne(): void {
    const { name, checker, transport, random, batchMessagesMax = BATCH_MESSAGES_MAX } = this.#options;
    const messageCount = transport === "tcp" ? 1 : 1 + Math.floor(random.fraction() * batchMessagesMax);
    const batch: SentBatch = { firstCounter: this.#nextCounter, messageCount };
    const requestId = this.#nextRequestId++;
    const payloads = Array.from({ length: messageCount }, (_, index) =>
      checker.payload(name, batch.firstCounter + index),
    );
    this.#nextCounter += messageCount;
    this.#inFlight.set(requestId, batch);
    checker.sent(name, batch);
    const encode = requestId % 3 === 0 ? encodePackedBatch : encodeAppendBatch;
    this.#link?.send(
      transport === "tcp"
        ? encodeAppendMessage({ requestId: String(requestId), name: checker.stream, payload: payloads[0]! })
        : encode({ handle: this.#handle, requestId, messages: payloads }),
    );
  }

  #onFrame(frame: Buffer): void {
    switch (frame[0]) {
      case Operation.OpenStreamResult: {
        const { handle } = decodeOpenStreamResult(frame);
        this.#handle = handle;
        this.#onOpened?.();
        return;
      }
      case Operation.AppendBatchResult:
        decodeAppendBatchResult(frame, (requestId, status, firstSequence, text) =>
          this.#onAnswer(requestId, { status, firstSequence, text }),
        );
        break;
      case Operation.AppendMessageResponse: {
        const { requestId, status, sequenceNumber = -1, errorMessage } = decodeAppendMessageResponse(frame);
        this.#onAnswer(Number(requestId), { status, firstSequence: sequenceNumber, text: errorMessage });
        break;
      }
      default:
        throw new Error(`unexpected operation ${String(frame[0])}`);
    }
    this.#pump();
    this.#onAnswered?.();
    if (this.#inFlight.size === 0) this.#onIdle?.();
  }

  #onAnswer(requestId: number, answer: { status: number; firstSequence: number; text: string }): void {
    const { name, checker, endsWith, meetsFaults = false } = this.#options;
    const batch = this.#inFlight.get(requestId);
    if (batch === undefined) throw new Error(`answer to request ${requestId}, which nobody made`);
    this.#inFlight.delete(requestId);
    this.answeredCount += 1;
    const kind = meetsFaults && answer.status !== 0 ? failureKind(answer) : undefined;
    if (answer.status === 0) {
      this.acknowledgedCount += 1;
      checker.acknowledged(name, batch, answer.firstSequence);
    } else if (kind !== undefined) {
      this.failureTexts.add(answer.text);
      checker.failed(name, batch, kind);
      this.#pause();
    } else if (endsWith?.test(answer.text) === true) this.#isStopping = true;
    else checker.refused(name, batch, `status ${answer.status}, ${answer.text}`);
  }
  #pause(): void {
    this.#isPausing = true;
    setTimeout(() => {
      this.#isPausing = false;
      this.#pump();
    }, REFUSED_PAUSE_MS);
  }
}

/** What an answer says of a batch when the storage fails (A3, A7); undefined for an answer that does not say it. */
function failureKind({ status, text }: { status: number; text: string }): FailureKind | undefined {
  switch (status) {
    case StatusCode.UnknownOutcome:
      return "unknown";
    case StatusCode.StreamFull:
    case StatusCode.StorageReadOnly:
    case StatusCode.ServerBusy:
      return "rejected";
    case StatusCode.UnknownFailure:
      return text.startsWith("unknown outcome: retry")
        ? "unknown"
        : text.startsWith("rejected:")
          ? "rejected"
          : undefined;
    case StatusCode.InvalidRequest:
      return text.includes("is full") ? "rejected" : undefined;
    default:
      return undefined;
  }
}
