import assert from "node:assert/strict";

import { parseSegmentName, SEGMENT_HEADER_BYTES } from "../../src/log/segment-layout.ts";
import type { Storage } from "../../src/log/storage.ts";
import { StreamLog } from "../../src/log/stream-log.ts";
import { SeededRandom } from "../support/deterministic.ts";
import { type DataBlock, dataBlocks } from "../support/log-blocks.ts";
import {
  blockOf,
  costOf,
  logOptions,
  readAll,
  smallPolicy,
  STREAM_DIRECTORY,
} from "../support/log-fixture.ts";
import { SimStorage } from "../support/sim-storage.ts";

export type DamageCommand =
  | { readonly kind: "append"; readonly sizes: readonly number[] }
  /** A flipped bit in a block that the medium has: in its header, or in its body. */
  | { readonly kind: "damage"; readonly place: number; readonly inHeader: boolean; readonly offset: number }
  /** The device gives the newest of them as it was, after all. */
  | { readonly kind: "heal" }
  /** Both copies of a complete segment's header; then a start. */
  | { readonly kind: "damageHead"; readonly place: number; readonly offset: number }
  /** The account; then a start. */
  | { readonly kind: "damageLedger"; readonly offset: number }
  | { readonly kind: "restart"; readonly isKilled: boolean };

interface Flip {
  readonly block: DataBlock;
  readonly position: number;
}

const policy = { ...smallPolicy, segmentSize: 9000, commitAlignBytes: 0 };
const LEDGER_PATH = `${STREAM_DIRECTORY}/ledger`;

/**
 * A log on a medium that rots, beside a list of its messages: what is not in a damaged block is read, and everything that was
 * appended is either read or counted as damaged, once. Nothing is ever deleted for what cannot be read.
 */
export class DamageModel {
  readonly #wrap: (storage: SimStorage) => Storage;
  readonly #messages: string[] = [];
  #storage = new SimStorage();
  #flips: Flip[] = [];
  #log: StreamLog;
  #epoch = 1;
  damageCount = 0;
  startCount = 0;

  /** `wrap`: what a start sees of the storage. */
  constructor(wrap: (storage: SimStorage) => Storage = (storage) => storage) {
    this.#wrap = wrap;
    this.#storage.makeDirectory("/store");
    this.#storage.syncDirectory("/");
    this.#log = StreamLog.create(logOptions(this.#storage, { policy }));
  }

  run(next: DamageCommand): void {
    switch (next.kind) {
      case "append":
        this.#append(next.sizes);
        break;
      case "damage":
        this.#damage(next);
        break;
      case "heal":
        this.#heal();
        break;
      case "damageHead":
        this.#damageHead(next);
        break;
      case "damageLedger":
        this.#damageLedger(next.offset);
        break;
      case "restart":
        this.#restart(next.isKilled);
        break;
    }
    this.#check();
  }

  #append(sizes: readonly number[]): void {
    const batch = sizes.map((size, at) => `${this.#messages.length + at} `.padEnd(size, "abcdefgh"));
    const block = blockOf(batch);
    this.#log.admit(costOf(block));
    assert.equal(this.#log.append(block), this.#messages.length);
    this.#messages.push(...batch);
    this.#log.sync((error) => assert.equal(error, undefined));
    this.#storage.completeSyncs();
  }

  #segmentPaths(): string[] {
    return this.#storage
      .list(STREAM_DIRECTORY)
      .flatMap(({ name }) => (parseSegmentName(name) === undefined ? [] : [`${STREAM_DIRECTORY}/${name}`]))
      .sort();
  }

  /** Of the newest segment only what the medium is known to have: damage behind that is a torn tail, which may be cut. */
  #damage({ place, inHeader, offset }: Extract<DamageCommand, { kind: "damage" }>): void {
    const paths = this.#segmentPaths();
    const blocks = paths
      .flatMap((path, at) => {
        const next = parseSegmentName((paths[at + 1] ?? "").slice(STREAM_DIRECTORY.length + 1));
        // What a start wrote again counts in the next segment only.
        const endSequence = next?.baseSequence ?? Infinity;
        return dataBlocks(this.#storage, path).filter(({ fromSequence }) => fromSequence < endSequence);
      })
      .slice(0, -1)
      .filter((block) => !this.#isHit(block));
    const block = blocks[Math.floor(place * blocks.length)];
    if (block === undefined) return;
    const position = block.position + (inHeader ? 12 + (offset % 48) : block.headerBytes + 9);
    this.#storage.flip(block.file, position);
    this.#flips.push({ block, position });
    this.damageCount += 1;
  }

  #isHit(block: Pick<DataBlock, "fromSequence">): boolean {
    return this.#flips.some((flip) => flip.block.fromSequence === block.fromSequence);
  }

  #heal(): void {
    const flip = this.#flips.pop();
    if (flip !== undefined) this.#storage.flip(flip.block.file, flip.position);
  }

  #damageHead({ place, offset }: Extract<DamageCommand, { kind: "damageHead" }>): void {
    const paths = this.#segmentPaths().slice(0, -1);
    // What is not whole itself need not tell the header again.
    const whole = paths.filter((path) => !this.#flips.some(({ block }) => block.file === path));
    const path = whole[Math.floor(place * whole.length)];
    if (path === undefined) return;
    for (const copy of [0, SEGMENT_HEADER_BYTES / 2])
      this.#storage.flip(path, copy + (offset % (SEGMENT_HEADER_BYTES / 2)));
    this.#restart(true);
  }

  #damageLedger(offset: number): void {
    if (!this.#storage.list(STREAM_DIRECTORY).some(({ name }) => name === "ledger")) return;
    this.#storage.flip(LEDGER_PATH, offset % this.#storage.read(LEDGER_PATH).length);
    this.#restart(true);
  }

  #restart(isKilled: boolean): void {
    if (isKilled) this.#storage = this.#storage.copy();
    else this.#log.close();
    this.#epoch += 1;
    this.startCount += 1;
    const random = new SeededRandom(this.#epoch);
    const options = logOptions(this.#wrap(this.#storage), { policy, epoch: this.#epoch, random });
    this.#log = StreamLog.open(options).log;
  }

  #check(): void {
    const log = this.#log;
    assert.equal(log.nextSequence, this.#messages.length, "numbers go on");
    const { messages } = readAll(log, log.oldestSequence, log.nextSequence);
    let payloadBytes = 0;
    for (const [sequence, message] of this.#messages.entries()) {
      const isLost = this.#flips.some(
        ({ block }) => sequence >= block.fromSequence && sequence < block.toSequence,
      );
      assert.equal(messages.get(sequence), isLost ? undefined : message, `message ${sequence}`);
      if (!isLost) payloadBytes += message.length;
    }
    const appended = { messages: log.nextSequence, payloadBytes: log.nextPayloadOffset };
    assert.deepEqual(log.ledger.stored(appended), { messages: messages.size, payloadBytes }, "the account");
  }
}
