import { Operation } from "../../src/wire/operation.ts";
import { decodeReadMessages } from "../../src/wire/read-messages.ts";
import { findRequestId } from "../../src/wire/reply.ts";
import { SeededRandom } from "../support/deterministic.ts";
import { goldenBytes, goldenFrames } from "../support/golden-frames.ts";
import { literalsOf } from "./dictionary.ts";
import path from "node:path";
import { Mutator } from "./mutator.ts";
import { isOwnFrame, ownRequests } from "./own-layout-targets.ts";

/** compiled to dist/test/fuzz/ */
const dist = path.join(import.meta.dirname, "..", "..");
const INPUT_BYTES_MAX = 2048;
/** Reads may wait so long; longer ones are left out, since the test waits for their answers. */
const READ_WAIT_MS_MAX = 20;
const SENT_BY = /^(java-sdk|js-core|js-sdk|py-sdk)/;
/** The stream of the captured requests. */
const STREAM = "SensorData 1.a-b_c,";

/** Inputs for an engine: requests as clients send them, and what a fuzzer made of such, mutated. */
export class EngineInputs {
  readonly #random: SeededRandom;
  readonly #mutator: Mutator;
  readonly #official: Uint8Array[];
  readonly #own: Uint8Array[];
  readonly #streams: readonly Uint8Array[];

  constructor(options: { seed: number; official?: readonly Uint8Array[]; own?: readonly Uint8Array[] }) {
    this.#random = new SeededRandom(options.seed);
    const words = literalsOf([path.join(dist, "src/wire/")]);
    this.#mutator = new Mutator(this.#random, { words, inputBytesMax: INPUT_BYTES_MAX });
    const requests = goldenFrames().filter(({ name }) => SENT_BY.test(name) && !name.endsWith(".connect"));
    this.#official = [...requests.map(({ frame }) => frame), ...(options.official ?? [])];
    this.#own = [...ownRequests(STREAM), ...(options.own ?? [])];
    this.#streams = ["js-core-1.7.0", "java-sdk-1.1.0", "py-sdk-1.1.1"].map((client) =>
      goldenBytes(`${client}.connect-whole-stream`),
    );
  }

  /** Requests of the protocol, each of which has one answer; after the last one the connection may be ended instead. */
  official(count: number): Uint8Array[] {
    const isOfficial = (frame: Uint8Array): boolean =>
      frame[0] !== Operation.Connect && frame[0]! < Operation.OpenStream;
    return this.#take(count, this.#official, isOfficial);
  }

  /** Requests of both kinds. */
  mixed(count: number): Uint8Array[] {
    return this.#take(count, [...this.#own, ...this.#own, ...this.#official], () => true);
  }

  /** Bytes of a whole connection. */
  connection(): Uint8Array {
    const frames = Buffer.concat([this.#pick(this.#streams), ...this.#official.slice(0, 2)]);
    return this.#mutator.mutate(frames, this.#pick(this.#own));
  }

  /** Bytes behind the upgrade of a WebSocket: frames of that protocol. */
  webSocketBytes(): Uint8Array {
    const messages = [this.#pick(this.#own), this.#pick(this.#official), this.#pick(this.#own)];
    return this.#mutator.mutate(Buffer.concat(messages.map(maskedFrame)), this.#pick(this.#own));
  }

  #take(
    count: number,
    seeds: readonly Uint8Array[],
    isFitting: (frame: Uint8Array) => boolean,
  ): Uint8Array[] {
    const frames: Uint8Array[] = [];
    const mayEnd = this.#random.between(0, 3) === 0;
    while (frames.length < count) {
      const seed = this.#pick(seeds);
      // Some as they are, so that there is a state to disturb.
      const isWhole = this.#random.between(0, 7) === 0;
      const frame = isWhole ? seed : this.#mutator.mutate(seed, this.#pick(seeds));
      if (frame.length < 2 || !isFitting(frame) || waits(frame)) continue;
      // One that cannot be answered ends the connection, with all that would come behind it.
      const isLast = frames.length === count - 1;
      if (isAnswerable(frame) || (isLast && mayEnd)) frames.push(frame);
    }
    return frames;
  }

  #pick(inputs: readonly Uint8Array[]): Uint8Array {
    return inputs[this.#random.between(0, inputs.length - 1)]!;
  }
}

function isAnswerable(frame: Uint8Array): boolean {
  if (frame[0]! < Operation.OpenStream)
    return frame[0] !== Operation.Connect && findRequestId(frame) !== undefined;
  return frame[0] === Operation.AppendBatch || isOwnFrame(frame);
}

function waits(frame: Uint8Array): boolean {
  if (frame[0] !== Operation.ReadMessages) return false;
  try {
    return decodeReadMessages(frame).options.readTimeoutMillis > READ_WAIT_MS_MAX;
  } catch {
    return false;
  }
}

/** One binary message, as a client must mask it; the mask is zero. */
function maskedFrame(message: Uint8Array): Buffer {
  const head = Buffer.alloc(message.length < 126 ? 6 : 8);
  head[0] = 0x82;
  head[1] = 0x80 | Math.min(message.length, 126);
  if (message.length >= 126) head.writeUInt16BE(message.length, 2);
  return Buffer.concat([head, message]);
}
