import { hash } from "node:crypto";

/** Bytes of a digest in a journal: half of SHA-256 finds any damage. */
export const DIGEST_BYTES = 16;

/** How what came back differs from what was sent, in messages. */
export interface Differences {
  /** Messages that came back as they were sent, each counted once. */
  readonly correct: number;
  /** Sent and never seen again. */
  readonly missing: number;
  /** Came back with other bytes than were sent, or was never sent. */
  readonly wrong: number;
  /** Came back once more. */
  readonly duplicates: number;
  /** Came back after a message that was sent later, within one part. */
  readonly outOfOrder: number;
}

/** What a journal keeps of a message. */
export function digestOf(payload: Uint8Array): Buffer {
  return hash("sha256", payload, "buffer").subarray(0, DIGEST_BYTES);
}

const NumberSeen = { no: 0, correct: 1, wrong: 2 } as const;

/**
 * Compares message by message. The producer gives each message of a stream its number, counted from 0, and notes the digest of its
 * bytes; here each message that comes back is looked up by the number in it.
 */
export class MessageComparison {
  readonly #run: string;
  readonly #journal: Buffer;
  readonly #seen: Uint8Array;
  readonly #ignoresOtherRuns: boolean;
  #correct = 0;
  #wrong = 0;
  #duplicates = 0;
  #outOfOrder = 0;
  #newest = -1;

  /**
   * @param options.journal the digests of all messages, in order of their number
   * @param options.ignoresOtherRuns where earlier runs may have left messages: these are skipped, not wrong
   */
  constructor(options: { run: string; journal: Buffer; ignoresOtherRuns: boolean }) {
    this.#run = options.run;
    this.#journal = options.journal;
    this.#ignoresOtherRuns = options.ignoresOtherRuns;
    this.#seen = new Uint8Array(this.#journal.length / DIGEST_BYTES);
  }

  /** One message as it came back. */
  add(payload: Uint8Array): void {
    const identity = identityOf(payload);
    if (this.#ignoresOtherRuns && identity !== undefined && identity.run !== this.#run) return;
    if (identity?.run !== this.#run || identity.number >= this.#seen.length) {
      this.#wrong++;
      return;
    }
    const { number } = identity;
    const at = number * DIGEST_BYTES;
    const isCorrect = digestOf(payload).equals(this.#journal.subarray(at, at + DIGEST_BYTES));
    if (!isCorrect) {
      this.#wrong++;
      if (this.#seen[number] === NumberSeen.no) this.#seen[number] = NumberSeen.wrong;
      return;
    }
    if (this.#seen[number] === NumberSeen.correct) {
      this.#duplicates++;
      return;
    }
    this.#seen[number] = NumberSeen.correct;
    this.#correct++;
    if (number < this.#newest) this.#outOfOrder++;
    else this.#newest = number;
  }

  /** What follows is a part with an order of its own: a shard. */
  beginPart(): void {
    this.#newest = -1;
  }

  differences(): Differences {
    let missing = 0;
    for (const seen of this.#seen) if (seen === NumberSeen.no) missing++;
    return {
      correct: this.#correct,
      missing,
      wrong: this.#wrong,
      duplicates: this.#duplicates,
      outOfOrder: this.#outOfOrder,
    };
  }
}

/** The beginning of every message of the demo: which run made it, and which message of its stream it is. */
export function messageHead(run: string, number: number): string {
  return `{"run":"${run}","number":${number}`;
}

const HEAD = /^\{"run":"([0-9a-f]+)","number":(\d{1,15}),/;
const HEAD_BYTES_MAX = 64;

function identityOf(payload: Uint8Array): { readonly run: string; readonly number: number } | undefined {
  const length = Math.min(payload.length, HEAD_BYTES_MAX);
  const head = Buffer.from(payload.buffer, payload.byteOffset, length).toString("latin1");
  const match = HEAD.exec(head);
  return match ? { run: match[1]!, number: Number(match[2]) } : undefined;
}
