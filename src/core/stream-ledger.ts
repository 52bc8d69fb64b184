/**
 * The account of one stream: where every message that was ever appended is now. Pure; the log keeps one on the medium, the
 * main thread a copy that follows it.
 *
 *   appended = stored + overwritten + expired + deleted + damaged        in messages and in payload bytes, at all times
 *
 * Places are sequence numbers with their payload offset: the payload bytes of all messages before them. So a range that is
 * cut anywhere at a known place has exactly known bytes, whatever became of its messages.
 */
import { assert } from "./assert.ts";

/** Why messages are not there. The numbers are on the medium and never reused. */
export const LossReason = {
  /** Deleted by the strategy of a full stream. */
  Overwritten: 1,
  /** Older than the stream's time to live. */
  Expired: 2,
  /** Deleted once every enabled exporter had passed it, as the stream's options ask. */
  Deleted: 3,
  /** The bytes do not verify. */
  Corrupt: 4,
  /** No segment holds it, and no account says why. */
  Missing: 5,
  /** It was durable for all that is known, and the log ends before it. */
  Lost: 6,
  /** Of an exporter only: the destination does not take it. */
  SetAside: 7,
  /** Of an exporter only: below the start that its configuration names. */
  Skipped: 8,
} as const;
export type LossReason = (typeof LossReason)[keyof typeof LossReason];

/** A place in a stream: a sequence number, and the payload bytes of all messages before it. */
export interface StreamPlace {
  readonly sequence: number;
  readonly payloadOffset: number;
}

/** Where every stream begins. */
export const STREAM_START: StreamPlace = { sequence: 0, payloadOffset: 0 };

export function laterOf(one: StreamPlace, other: StreamPlace): StreamPlace {
  return one.sequence >= other.sequence ? one : other;
}

/** Messages of a range that went the same way. */
export interface StreamLoss {
  readonly reason: LossReason;
  readonly fromSequence: number;
  /** Exclusive. */
  readonly toSequence: number;
  readonly fromPayloadOffset: number;
  readonly toPayloadOffset: number;
  /** When it was noticed, Unix ms. */
  readonly timeMs: number;
}

/** Between two known places. */
export type LossRange = Omit<StreamLoss, "reason" | "timeMs">;

export function rangeOf(from: StreamPlace, to: StreamPlace): LossRange {
  return {
    fromSequence: from.sequence,
    fromPayloadOffset: from.payloadOffset,
    toSequence: to.sequence,
    toPayloadOffset: to.payloadOffset,
  };
}

export function rangeStart(range: LossRange): StreamPlace {
  return { sequence: range.fromSequence, payloadOffset: range.fromPayloadOffset };
}

export function rangeEnd(range: LossRange): StreamPlace {
  return { sequence: range.toSequence, payloadOffset: range.toPayloadOffset };
}

export interface MessageTotals {
  readonly messages: number;
  readonly payloadBytes: number;
}

export const NO_MESSAGES: MessageTotals = { messages: 0, payloadBytes: 0 };

export function addTotals(one: MessageTotals, other: MessageTotals): MessageTotals {
  return {
    messages: one.messages + other.messages,
    payloadBytes: one.payloadBytes + other.payloadBytes,
  };
}

export const ledgerAccounts = ["overwritten", "expired", "deleted", "damaged"] as const;
export type LedgerAccount = (typeof ledgerAccounts)[number];

/** A ledger as a value: what is stored, sent to other threads, and shown. */
export interface LedgerSnapshot {
  readonly accounts: Readonly<Record<LedgerAccount, MessageTotals>>;
  /** What is gone from the front, oldest first and without holes up to the oldest message; only the newest are kept apart. */
  readonly drops: readonly StreamLoss[];
  /** What cannot be read behind the oldest message, in order. */
  readonly damage: readonly StreamLoss[];
}

/** The numbers cross a thread boundary. */
export const LedgerChangeKind = { Drop: 1, Damage: 2, Restored: 3 } as const;
export type LedgerChangeKind = (typeof LedgerChangeKind)[keyof typeof LedgerChangeKind];

/** What happened to a ledger, so that a copy of it can follow. */
export interface LedgerChange {
  readonly kind: LedgerChangeKind;
  readonly loss: StreamLoss;
}

/** What may be asked of a ledger that someone else keeps. */
export type LedgerView = Pick<StreamLedger, "droppedEnd" | "snapshot" | "stored" | "isDamagedAt">;

/** Ranges kept of each kind. Neighbours of one reason are one range, so most streams need one or two. */
export const LEDGER_DROPS_MAX = 64;
export const LEDGER_DAMAGE_MAX = 64;

export const emptyLedger: LedgerSnapshot = {
  accounts: { overwritten: NO_MESSAGES, expired: NO_MESSAGES, deleted: NO_MESSAGES, damaged: NO_MESSAGES },
  drops: [],
  damage: [],
};

export function accountOf(reason: LossReason): LedgerAccount {
  if (reason === LossReason.Overwritten) return "overwritten";
  if (reason === LossReason.Expired) return "expired";
  return reason === LossReason.Deleted ? "deleted" : "damaged";
}

/** Everything below has its account. */
export function droppedEndOf({ drops }: Pick<LedgerSnapshot, "drops">): StreamPlace {
  const last = drops.at(-1);
  return last === undefined ? STREAM_START : rangeEnd(last);
}

export function totalsOf(loss: StreamLoss): MessageTotals {
  return {
    messages: loss.toSequence - loss.fromSequence,
    payloadBytes: loss.toPayloadOffset - loss.fromPayloadOffset,
  };
}

export class StreamLedger {
  readonly #accounts: Record<LedgerAccount, MessageTotals>;
  readonly #drops: StreamLoss[];
  #damage: StreamLoss[];

  constructor(snapshot: LedgerSnapshot = emptyLedger) {
    this.#accounts = { ...snapshot.accounts };
    this.#drops = [...snapshot.drops];
    this.#damage = [...snapshot.damage];
  }

  /** Everything below has its account. */
  get droppedEnd(): StreamPlace {
    return droppedEndOf({ drops: this.#drops });
  }

  get snapshot(): LedgerSnapshot {
    return { accounts: { ...this.#accounts }, drops: [...this.#drops], damage: [...this.#damage] };
  }

  /** Whether damage can still be noted apart. What is not noted counts as stored until its segment goes. */
  get hasRoomForDamage(): boolean {
    return this.#damage.length < LEDGER_DAMAGE_MAX;
  }

  /** Repeats on this copy what happened to the original. */
  apply({ kind, loss }: LedgerChange): void {
    if (kind === LedgerChangeKind.Drop) this.addDrop(loss);
    else if (kind === LedgerChangeKind.Damage) this.addDamage(loss);
    else this.restore(loss);
  }

  get hasDamage(): boolean {
    return this.#damage.length > 0;
  }

  /** Whether a message counts as damaged. */
  isDamagedAt(sequence: number): boolean {
    return this.#damage.some((loss) => sequence >= loss.fromSequence && sequence < loss.toSequence);
  }

  /** Whether every message of a stretch does. */
  isDamagedThrough(fromSequence: number, toSequence: number): boolean {
    let at = fromSequence;
    for (const loss of this.#damage)
      if (loss.fromSequence <= at && at < loss.toSequence) at = loss.toSequence;
    return at >= toSequence;
  }

  /** Messages from the front are gone. What of them was damaged has its account already. */
  addDrop(loss: StreamLoss): void {
    const { sequence, payloadOffset } = this.droppedEnd;
    assert(
      loss.fromSequence === sequence && loss.fromPayloadOffset === payloadOffset,
      `a drop from ${loss.fromSequence} where ${sequence} is the oldest`,
    );
    if (loss.toSequence === loss.fromSequence) return;
    let { messages, payloadBytes } = totalsOf(loss);
    const rest: StreamLoss[] = [];
    for (const damage of this.#damage) {
      const [inside, outside] = splitAt(damage, loss);
      if (inside !== undefined) {
        messages -= totalsOf(inside).messages;
        payloadBytes -= totalsOf(inside).payloadBytes;
      }
      if (outside !== undefined) rest.push(outside);
    }
    this.#damage = rest;
    this.#count(loss.reason, { messages, payloadBytes });
    const last = this.#drops.at(-1);
    if (last?.reason === loss.reason) this.#drops.push(joined(this.#drops.pop()!, loss));
    else this.#drops.push(loss);
    // Which of two old neighbours a message belonged to is forgotten; the accounts know all of them.
    if (this.#drops.length > LEDGER_DROPS_MAX)
      this.#drops.splice(0, 2, joined(this.#drops[0]!, this.#drops[1]!));
  }

  /** Messages behind the oldest cannot be read. @returns what was not known before, as far as it can be kept apart */
  addDamage(loss: StreamLoss): StreamLoss[] {
    // What lies below the oldest message has its account already, whatever it was.
    let pieces = without(loss, rangeOf(STREAM_START, this.droppedEnd));
    for (const known of this.#damage) pieces = pieces.flatMap((piece) => without(piece, known));
    const added: StreamLoss[] = [];
    for (const piece of pieces) {
      if (piece.fromSequence >= piece.toSequence) continue;
      const damage = withJoinedNeighbours([...this.#damage, piece]);
      if (damage.length > LEDGER_DAMAGE_MAX) continue;
      this.#damage = damage;
      this.#count(piece.reason, totalsOf(piece));
      added.push(piece);
    }
    return added;
  }

  /**
   * Damaged messages can be read after all: a fault of the device has passed. What would leave more pieces than are kept
   * apart waits until there is room. @returns the ranges that counted as damaged
   */
  restore(range: LossRange): StreamLoss[] {
    const restored: StreamLoss[] = [];
    const damage = this.#damage.flatMap((known) => {
      const rest = without(known, range);
      if (rest.length === 1 && rest[0] === known) return rest;
      restored.push(within(known, range));
      return rest;
    });
    if (damage.length > LEDGER_DAMAGE_MAX) return [];
    this.#damage = damage;
    for (const loss of restored) {
      const { messages, payloadBytes } = totalsOf(loss);
      this.#count(loss.reason, { messages: -messages, payloadBytes: -payloadBytes });
    }
    return restored;
  }

  /** What is left of `appended`, the number of the next message and its payload offset, when every account is paid. */
  stored(appended: MessageTotals): MessageTotals {
    let { messages, payloadBytes } = appended;
    for (const account of ledgerAccounts) {
      messages -= this.#accounts[account].messages;
      payloadBytes -= this.#accounts[account].payloadBytes;
    }
    return { messages, payloadBytes };
  }

  #count(reason: LossReason, totals: MessageTotals): void {
    const account = accountOf(reason);
    this.#accounts[account] = addTotals(this.#accounts[account], totals);
  }
}

function joined(older: StreamLoss, newer: StreamLoss): StreamLoss {
  const { fromSequence, fromPayloadOffset } = older;
  return { ...newer, fromSequence, fromPayloadOffset };
}

/** In order; neighbours of one reason are one range. */
function withJoinedNeighbours(damage: StreamLoss[]): StreamLoss[] {
  const sorted = damage.sort((one, other) => one.fromSequence - other.fromSequence);
  const result: StreamLoss[] = [];
  for (const loss of sorted) {
    const last = result.at(-1);
    const isNext = last?.toSequence === loss.fromSequence && last.reason === loss.reason;
    if (isNext) result.push(joined(result.pop()!, loss));
    else result.push(loss);
  }
  return result;
}

/** The part of `damage` below the end of `drop`, and the part above. */
function splitAt(damage: StreamLoss, drop: StreamLoss): [StreamLoss | undefined, StreamLoss | undefined] {
  if (damage.toSequence <= drop.toSequence) return [damage, undefined];
  if (damage.fromSequence >= drop.toSequence) return [undefined, damage];
  const { toSequence, toPayloadOffset } = drop;
  return [
    { ...damage, toSequence, toPayloadOffset },
    { ...damage, fromSequence: toSequence, fromPayloadOffset: toPayloadOffset },
  ];
}

/** What of `loss` lies inside `range`, which meets it. */
function within(loss: StreamLoss, range: LossRange): StreamLoss {
  const from = loss.fromSequence >= range.fromSequence ? loss : range;
  const to = loss.toSequence <= range.toSequence ? loss : range;
  return {
    ...loss,
    fromSequence: from.fromSequence,
    fromPayloadOffset: from.fromPayloadOffset,
    toSequence: to.toSequence,
    toPayloadOffset: to.toPayloadOffset,
  };
}

/** What of `piece` lies outside `known`; either end of `known` is a known place. */
function without(piece: StreamLoss, known: LossRange): StreamLoss[] {
  if (piece.toSequence <= known.fromSequence || piece.fromSequence >= known.toSequence) return [piece];
  const parts: StreamLoss[] = [];
  if (piece.fromSequence < known.fromSequence) {
    parts.push({ ...piece, toSequence: known.fromSequence, toPayloadOffset: known.fromPayloadOffset });
  }
  if (piece.toSequence > known.toSequence) {
    parts.push({ ...piece, fromSequence: known.toSequence, fromPayloadOffset: known.toPayloadOffset });
  }
  return parts;
}
