import { encodeAppendBatch } from "../../src/wire/append-batch-layout.ts";
import { decodeAppendBatchResult } from "../../src/wire/append-batch-result-layout.ts";
import { decodeAppendMessageResponse, encodeAppendMessage } from "../../src/wire/append-message.ts";
import { decodeOpenStreamResult, encodeOpenStream } from "../../src/wire/open-stream-layout.ts";
import { Operation } from "../../src/wire/operation.ts";
import type { Random } from "../../src/core/random.ts";
import { openTcpLink, openWebSocketLink, type FrameLink } from "../support/frame-link.ts";
import type { AppendChecker, SentBatch } from "./append-checker.ts";

export interface LoadProducerOptions {
  readonly name: string;
  readonly checker: AppendChecker;
  readonly transport: "websocket" | "tcp";
  /** Requests on their way. */
  readonly windowMax: number;
  readonly random: Random;
  /** Refusals that end the load without being a fault: what they concern was not stored, and nothing after it. */
  readonly endsWith?: RegExp;
}

const BATCH_MESSAGES_MAX = 24;

/** Appends numbered messages as fast as its window allows, tells its checker everything, and begins again where it was cut off. */
export class LoadProducer {
  readonly #options: LoadProducerOptions;
  readonly #inFlight = new Map<number, SentBatch>();
  #link: FrameLink | undefined;
  #handle = 0;
  #nextRequestId = 1;
  #nextCounter = 0;
  #isStopping = false;
  #onIdle: (() => void) | undefined;

  constructor(options: LoadProducerOptions) {
    this.#options = options;
  }

  /** Connects and starts to append. */
  async start(engine: { port: number; token: string | undefined }): Promise<void> {
    const { transport, checker, name } = this.#options;
    const opened = new Promise<void>((resolve) => (this.#onOpened = resolve));
    const open = transport === "tcp" ? openTcpLink : openWebSocketLink;
    this.#link = await open({ ...engine, onFrame: (frame) => this.#onFrame(frame) });
    this.#isStopping = false;
    if (transport === "websocket") {
      this.#link.send(encodeOpenStream({ requestId: 0, name: checker.stream }));
      await Promise.race([opened, this.#link.closed]);
    }
    void this.#link.closed.then(() => {
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

  #onOpened: (() => void) | undefined;

  #pump(): void {
    while (!this.#isStopping && this.#inFlight.size < this.#options.windowMax) this.#sendOne();
  }

  #sendOne(): void {
    const { name, checker, transport, random } = this.#options;
    const messageCount = transport === "tcp" ? 1 : 1 + Math.floor(random.fraction() * BATCH_MESSAGES_MAX);
    const batch: SentBatch = { firstCounter: this.#nextCounter, messageCount };
    const requestId = this.#nextRequestId++;
    const payloads = Array.from({ length: messageCount }, (_, index) =>
      checker.payload(name, batch.firstCounter + index),
    );
    this.#nextCounter += messageCount;
    this.#inFlight.set(requestId, batch);
    checker.sent(name, batch);
    this.#link?.send(
      transport === "tcp"
        ? encodeAppendMessage({ requestId: String(requestId), name: checker.stream, payload: payloads[0]! })
        : encodeAppendBatch({ handle: this.#handle, requestId, messages: payloads }),
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
    if (this.#inFlight.size === 0) this.#onIdle?.();
  }

  #onAnswer(requestId: number, answer: { status: number; firstSequence: number; text: string }): void {
    const { name, checker, endsWith } = this.#options;
    const batch = this.#inFlight.get(requestId);
    if (batch === undefined) throw new Error(`answer to request ${requestId}, which nobody made`);
    this.#inFlight.delete(requestId);
    if (answer.status === 0) checker.acknowledged(name, batch, answer.firstSequence);
    else if (endsWith?.test(answer.text) === true) this.#isStopping = true;
    else checker.refused(name, batch, `status ${answer.status}, ${answer.text}`);
  }
}
