import { StatusCode } from "../../../src/core/status-code.ts";
import type { SeededRandom } from "../../support/deterministic.ts";
import type { AppendAnswer, SimClient } from "./sim-client.ts";
import type { ModelBatch, StreamModel } from "./stream-model.ts";

const UNANSWERED_MAX = 6;

interface NumberedBatch {
  readonly sequence: number;
  readonly batch: ModelBatch;
}

/** A producer that names itself: it outlives connections and engines, and sends again whatever was not answered with success. */
export class SimProducer {
  readonly name: string;
  readonly model: StreamModel;
  readonly violations: string[] = [];
  readonly #random: SeededRandom;
  #client: SimClient | undefined;
  #id: number;
  #nextSequence = 0;
  #counter = 0;
  #unanswered: NumberedBatch[] = [];
  #inFlight = 0;
  #mustSendAgain = false;
  resentCount = 0;

  constructor(model: StreamModel, random: SeededRandom) {
    this.name = `producer of ${model.traits.name}`;
    this.model = model;
    this.#random = random;
    this.#id = random.between(1, 2 ** 40);
  }

  /** A new connection, to a new process perhaps. */
  attach(client: SimClient): void {
    this.#client = client;
    this.#inFlight = 0;
    this.#mustSendAgain = this.#unanswered.length > 0;
    if (this.model.traits.isMemory) this.#beginAnew();
  }

  get mayAct(): boolean {
    if (this.#client?.mayAppend !== true) return false;
    return this.#mustSendAgain ? this.#inFlight === 0 : this.#unanswered.length < UNANSWERED_MAX;
  }

  act(): void {
    const { name } = this.model.traits;
    if (!this.#client!.hasHandle(name)) {
      this.#client!.openStream(name);
      return;
    }
    if (this.#mustSendAgain) {
      this.#mustSendAgain = false;
      for (const numbered of this.#unanswered) {
        this.resentCount += 1;
        if (numbered.batch.state !== "acknowledged") numbered.batch.state = "pending";
        this.#send(numbered);
      }
      return;
    }
    const payloads = Array.from({ length: this.#random.between(1, 3) }, (_, index) => {
      const filler = Buffer.from(this.#random.bytes(this.#random.between(1, 200))).toString("hex");
      return `${this.name}:${this.#counter + index}:${filler}`;
    });
    const batch = this.model.sent(this.name, this.#counter, payloads);
    this.#counter += payloads.length;
    const numbered = { sequence: this.#nextSequence++, batch };
    this.#unanswered.push(numbered);
    this.#send(numbered);
  }

  #send(numbered: NumberedBatch): void {
    const { batch, sequence } = numbered;
    this.#inFlight += 1;
    const client = this.#client!;
    client.sendBatch(this.model.traits.name, batch.payloads, {
      producer: { id: this.#id, sequence },
      onAnswer: (answer) => {
        if (client === this.#client) this.#onAnswer(numbered, answer);
      },
    });
  }

  #onAnswer(numbered: NumberedBatch, { status, firstSequence, text }: AppendAnswer): void {
    this.#inFlight -= 1;
    const { batch } = numbered;
    const isFirst = this.#unanswered[0] === numbered;
    if (status === StatusCode.Success) {
      if (batch.state === "acknowledged" && batch.firstSequence !== firstSequence)
        this.violations.push(
          `${this.name}: ${batch.firstSequence} at first, ${firstSequence} when sent again`,
        );
      if (batch.state !== "acknowledged") this.model.acknowledged(batch, firstSequence);
      this.#unanswered = this.#unanswered.filter((other) => other !== numbered);
      return;
    }
    if (batch.state === "pending") batch.state = "unknown";
    this.#mustSendAgain = true;
    if (status !== StatusCode.SequenceGap || !isFirst) return;
    // The stream forgot what it had not made durable, and this producer's place with it.
    if (this.model.traits.flushOnWrite) this.violations.push(`${this.name}: ${text}`);
    this.#beginAnew();
  }

  /** What was in doubt is given up. */
  #beginAnew(): void {
    this.#id = this.#random.between(1, 2 ** 40);
    this.#nextSequence = 0;
    this.#unanswered = [];
    this.#mustSendAgain = false;
  }
}
