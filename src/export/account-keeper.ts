import { assert } from "../core/assert.ts";
import {
  addTotals,
  LossReason,
  type MessageTotals,
  type StreamLoss,
  type StreamPlace,
} from "../core/stream-ledger.ts";
import { CURSOR_RANGES_MAX, type CursorRecord, type ExporterAccount } from "./cursor-layout.ts";

/** The account of messages that were passed over. */
export function accountOfLoss(reason: LossReason): ExporterAccount {
  switch (reason) {
    case LossReason.Overwritten:
      return "overwritten";
    case LossReason.Expired:
      return "expired";
    case LossReason.Deleted:
      return "deleted";
    case LossReason.SetAside:
      return "setAside";
    case LossReason.Skipped:
      return "skipped";
    case LossReason.Corrupt:
    case LossReason.Missing:
    case LossReason.Lost:
      return "damaged";
  }
}

/** Moves a cursor, and with every move says what became of the messages that it leaves behind. The record it began with stays. */
export class AccountKeeper {
  readonly #before: CursorRecord;
  readonly #accounts: Record<ExporterAccount, MessageTotals>;
  readonly #ranges: StreamLoss[];
  #rewound: MessageTotals;
  #startSequence: number;
  #position: number;
  #payloadOffset: number;
  #lastAcceptedTimeMs: number;
  #isChanged = false;

  constructor(cursor: CursorRecord) {
    this.#before = cursor;
    this.#accounts = { ...cursor.accounts };
    this.#ranges = [...cursor.ranges];
    this.#rewound = cursor.rewound;
    this.#startSequence = cursor.startSequence;
    this.#position = cursor.position;
    this.#payloadOffset = cursor.payloadOffset;
    this.#lastAcceptedTimeMs = cursor.lastAcceptedTimeMs;
  }

  get place(): StreamPlace {
    return { sequence: this.#position, payloadOffset: this.#payloadOffset };
  }

  get startSequence(): number {
    return this.#startSequence;
  }

  /** The record as it is now; the one that it began with if nothing has changed. */
  get cursor(): CursorRecord {
    if (!this.#isChanged) return this.#before;
    return {
      revision: this.#before.revision + 1,
      startSequence: this.#startSequence,
      position: this.#position,
      payloadOffset: this.#payloadOffset,
      accounts: this.#accounts,
      rewound: this.#rewound,
      lastAcceptedTimeMs: this.#lastAcceptedTimeMs,
      ranges: this.#ranges,
    };
  }

  /** The destination has the next messages. */
  accept(totals: MessageTotals, timeMs: number): void {
    this.#count("exported", totals);
    this.#position += totals.messages;
    this.#payloadOffset += totals.payloadBytes;
    this.#lastAcceptedTimeMs = timeMs;
  }

  /**
   * The next messages do not go to the destination. Where the log's payload offsets are not this cursor's (it takes files of
   * different times put together), the account follows the log, and what cannot be explained shows as damaged, or as rewound.
   */
  pass(loss: StreamLoss): void {
    assert(loss.fromSequence === this.#position, `a loss from ${loss.fromSequence} at ${this.#position}`);
    assert(loss.toSequence >= loss.fromSequence, "a loss goes forward");
    const payloadBytes = loss.toPayloadOffset - this.#payloadOffset;
    const messages = loss.toSequence - loss.fromSequence;
    this.#count(accountOfLoss(loss.reason), { messages, payloadBytes: Math.max(0, payloadBytes) });
    if (payloadBytes < 0)
      this.#rewound = addTotals(this.#rewound, { messages: 0, payloadBytes: -payloadBytes });
    addRange(this.#ranges, {
      ...loss,
      fromPayloadOffset: Math.min(this.#payloadOffset, loss.toPayloadOffset),
    });
    this.#position = loss.toSequence;
    this.#payloadOffset = loss.toPayloadOffset;
  }

  /** Messages from `place` on go again. */
  rewind(place: StreamPlace): void {
    assert(place.sequence <= this.#position, "a cursor is rewound to a place behind it");
    const messages = this.#position - place.sequence;
    const payloadBytes = this.#payloadOffset - place.payloadOffset;
    this.#rewound = addTotals(this.#rewound, { messages, payloadBytes: Math.max(0, payloadBytes) });
    if (payloadBytes < 0) this.#count("damaged", { messages: 0, payloadBytes: -payloadBytes });
    this.#position = place.sequence;
    this.#payloadOffset = place.payloadOffset;
    this.#isChanged = true;
  }

  /** The configuration names another start. */
  setStart(startSequence: number): void {
    if (startSequence === this.#startSequence) return;
    this.#startSequence = startSequence;
    this.#isChanged = true;
  }

  #count(account: ExporterAccount, totals: MessageTotals): void {
    this.#accounts[account] = addTotals(this.#accounts[account], totals);
    this.#isChanged = true;
  }
}

/** Touching ranges of one reason become one, under the later time; the oldest goes when there are too many. */
export function addRange(ranges: StreamLoss[], range: StreamLoss): void {
  const last = ranges.at(-1);
  const touches = last?.reason === range.reason && last.toSequence === range.fromSequence;
  if (touches && last.toPayloadOffset === range.fromPayloadOffset) {
    const { fromSequence, fromPayloadOffset } = last;
    ranges.splice(-1, 1, { ...range, fromSequence, fromPayloadOffset });
  } else ranges.push(range);
  if (ranges.length > CURSOR_RANGES_MAX) ranges.shift();
}
