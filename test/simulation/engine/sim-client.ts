import { fullRights } from "../../../src/core/access-rights.ts";
import { StatusCode } from "../../../src/core/status-code.ts";
import type { StreamDefinition } from "../../../src/core/stream-definition.ts";
import type { ClientSession } from "../../../src/engine/client-session.ts";
import type { Engine } from "../../../src/engine/engine.ts";
import { decodeAppendBatchResult } from "../../../src/wire/append-batch-result-layout.ts";
import { encodeAppendBatch } from "../../../src/wire/append-batch-layout.ts";
import { encodeCreateMessageStream } from "../../../src/wire/create-message-stream.ts";
import { encodeDescribeMessageStream } from "../../../src/wire/describe-message-stream.ts";
import { decodeOpenStreamResult, encodeOpenStream } from "../../../src/wire/open-stream-layout.ts";
import { Operation } from "../../../src/wire/operation.ts";
import type { DescribeMessageStreamResponse } from "../../../src/wire/describe-message-stream.ts";
import { encodeReadMessages, type ReadMessagesResponse } from "../../../src/wire/read-messages.ts";
import { findRequestId, type Reply } from "../../../src/wire/reply.ts";
import { officialDecoders } from "../../support/golden-frames.ts";
import { encodePackedBatch } from "../../support/packed-batch.ts";
import type { SeededRandom } from "../../support/deterministic.ts";
import type { ModelBatch, StreamModel } from "./stream-model.ts";

const IN_FLIGHT_MAX = 8;

/** Refused means not stored and never will be. */
const refusals = new Set<number>([
  StatusCode.StreamFull,
  StatusCode.StorageReadOnly,
  StatusCode.ServerBusy,
  StatusCode.ResourceNotFound,
]);

export interface AppendAnswer {
  readonly status: number;
  readonly firstSequence: number;
  readonly text: string;
}

/** A producer and reader on one connection to one engine; its counters go on over connections. */
export class SimClient implements ClientSession {
  static #nextId = 1;
  readonly id = SimClient.#nextId++;
  readonly principal = { name: "owner", rights: fullRights };
  readonly protocolVersion = "1.1.0";
  readonly name: string;
  readonly isOpen = true;
  bufferedBytes = 0;
  readonly #engine: Engine;
  readonly #random: SeededRandom;
  readonly #counters: Map<string, number>;
  readonly pauses = new Set<string>();
  readonly #handles = new Map<string, number>();
  readonly #opening = new Set<string>();
  readonly #appends = new Map<number, (answer: AppendAnswer) => void>();
  readonly #replies = new Map<string, (frame: Buffer) => void>();
  #nextRequestId = 1;
  readonly violations: string[] = [];

  constructor(name: string, parts: { engine: Engine; random: SeededRandom; counters: Map<string, number> }) {
    this.name = name;
    this.#engine = parts.engine;
    this.#random = parts.random;
    this.#counters = parts.counters;
    this.#engine.onOpen(this);
  }

  get mayAppend(): boolean {
    return this.pauses.size === 0 && this.#appends.size < IN_FLIGHT_MAX;
  }

  hasHandle(name: string): boolean {
    return this.#handles.has(name);
  }

  get isWaiting(): boolean {
    return this.#appends.size > 0;
  }

  append(model: StreamModel): void {
    const { name } = model.traits;
    const handle = this.#handles.get(name);
    if (handle === undefined) {
      this.openStream(name);
      return;
    }
    const firstCounter = this.#counters.get(name) ?? 0;
    const payloads = Array.from({ length: this.#random.between(1, 5) }, (_, index) => {
      const size =
        this.#random.fraction() < 0.1 ? this.#random.between(500, 2500) : this.#random.between(1, 90);
      const filler = Buffer.from(this.#random.bytes(size)).toString("hex");
      return `${this.name}:${firstCounter + index}:${filler}`;
    });
    this.#counters.set(name, firstCounter + payloads.length);
    const batch = model.sent(this.name, firstCounter, payloads);
    this.sendBatch(name, payloads, { onAnswer: (answer) => this.#judge(model, batch, answer) });
  }

  /** An AppendBatch (66) to a stream that has a handle. */
  sendBatch(
    name: string,
    payloads: readonly string[],
    options: {
      readonly producer?: { readonly id: number; readonly sequence: number };
      readonly onAnswer: (answer: AppendAnswer) => void;
    },
  ): void {
    const requestId = this.#nextRequestId++;
    this.#appends.set(requestId, options.onAnswer);
    const messages = payloads.map((payload) => Buffer.from(payload, "latin1"));
    const { producer } = options;
    const batch = { handle: this.#handles.get(name)!, requestId, messages, ...(producer && { producer }) };
    // What is sent again may be plain where the first copy was not, and the other way round.
    const encode = requestId % 3 === 0 ? encodePackedBatch : encodeAppendBatch;
    this.#engine.onFrame(this, encode(batch));
  }

  openStream(name: string): void {
    if (this.#opening.has(name)) return;
    this.#opening.add(name);
    const requestId = this.#nextRequestId++;
    this.#replies.set(String(requestId), (frame) => {
      this.#opening.delete(name);
      const { status, handle } = decodeOpenStreamResult(frame);
      if (status === StatusCode.Success) this.#handles.set(name, handle);
    });
    this.#engine.onFrame(this, encodeOpenStream({ requestId, name }));
  }

  create(definition: StreamDefinition): Promise<Reply> {
    return this.#call((requestId) => encodeCreateMessageStream({ requestId, definition }));
  }

  describe(name: string): Promise<DescribeMessageStreamResponse> {
    return this.#call((requestId) => encodeDescribeMessageStream({ requestId, name }));
  }

  read(streamName: string, fromSequence: number, count: number): Promise<ReadMessagesResponse> {
    const options = { desiredStartSequenceNumber: fromSequence, minMessageCount: 1, maxMessageCount: count };
    return this.#call((requestId) => encodeReadMessages({ requestId, streamName, options }));
  }

  #call<T extends Reply>(encode: (requestId: string) => Uint8Array): Promise<T> {
    const requestId = String(this.#nextRequestId++);
    return new Promise((resolve) => {
      this.#replies.set(requestId, (frame) => resolve(officialDecoders[frame[0]!]!(frame) as T));
      this.#engine.onFrame(this, encode(requestId));
    });
  }

  send(frame: Uint8Array): void {
    const bytes = Buffer.from(frame);
    if (bytes[0] === Operation.AppendBatchResult) {
      decodeAppendBatchResult(bytes, (requestId, status, firstSequence, text) =>
        this.#onAppended(requestId, { status, firstSequence, text }),
      );
      return;
    }
    const isOpened = bytes[0] === Operation.OpenStreamResult;
    const requestId = isOpened
      ? String(decodeOpenStreamResult(bytes).requestId)
      : (findRequestId(bytes) ?? "");
    const reply = this.#replies.get(requestId);
    this.#replies.delete(requestId);
    reply?.(bytes);
  }

  #onAppended(requestId: number, answer: AppendAnswer): void {
    const asked = this.#appends.get(requestId);
    if (asked === undefined) {
      this.violations.push(`${this.name} got an answer to request ${requestId}, which it did not wait for`);
      return;
    }
    this.#appends.delete(requestId);
    asked(answer);
  }

  #judge(model: StreamModel, batch: ModelBatch, answer: AppendAnswer): void {
    if (answer.status === StatusCode.Success) {
      model.acknowledged(batch, answer.firstSequence);
      return;
    }
    if (refusals.has(answer.status)) batch.state = "refused";
    else if (answer.status === StatusCode.UnknownOutcome) batch.state = "unknown";
    else this.violations.push(`${this.name} was answered ${answer.status}: ${answer.text}`);
  }

  pause(reason: string): void {
    this.pauses.add(reason);
  }
  resume(reason: string): void {
    this.pauses.delete(reason);
  }
  close(reason: string): void {
    this.violations.push(`the engine closed the connection of ${this.name}: ${reason}`);
  }
}
