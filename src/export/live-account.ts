import {
  addTotals,
  LossReason,
  type MessageTotals,
  NO_MESSAGES,
  rangeEnd,
  rangeStart,
  type StreamLoss,
  type StreamPlace,
} from "../core/stream-ledger.ts";
import { accountOfLoss, addRange } from "./account-keeper.ts";
import {
  accountedTotals,
  type CursorRecord,
  type ExporterAccount,
  type ExporterAccounts,
} from "./cursor-layout.ts";
import { isOpen, type PendingBatch, type PendingEntry } from "./delivery.ts";
import { lossesBetween, reasonOf } from "./dropped-ranges.ts";

/** How far a stream reaches, as its worker last said (stream/stream-channel.ts). */
export interface ExportProgress {
  readonly oldestSequence: number;
  readonly oldestPayloadOffset: number;
  readonly syncedEndSequence: number;
  readonly syncedEndPayloadOffset: number;
  readonly nextSequence: number;
  readonly nextPayloadOffset: number;
}

/**
 * Where every message that was appended to a stream is for one exporter. At all times, in messages and in payload bytes:
 *
 *   appended + rewound = exported + pending + overwritten + expired + deleted + setAside + damaged + skipped
 */
export interface LiveAccount {
  readonly appended: MessageTotals;
  readonly rewound: MessageTotals;
  readonly pending: MessageTotals;
  readonly accounts: ExporterAccounts;
  /** What was passed over, oldest first; the newest. */
  readonly losses: readonly StreamLoss[];
}

export interface Standing {
  readonly cursor: CursorRecord;
  readonly batch: PendingBatch | undefined;
  /** A place up to which everything is skipped for a start that is not reached, if the cursor does not tell. */
  readonly skippedTo: StreamPlace | undefined;
  readonly oldest: StreamPlace;
  readonly next: StreamPlace;
  readonly drops: readonly StreamLoss[];
  readonly nowMs: number;
}

/**
 * The account as it stands: what the cursor has settled, and what can be foreseen of the next task, which will find messages
 * gone or below its start. A destination that is not there for days must not hide what is lost meanwhile.
 */
export function liveAccount(standing: Standing): LiveAccount {
  const { cursor, batch, skippedTo, oldest, next, drops, nowMs } = standing;
  const foreseen = new Foreseen(cursor);
  let at: StreamPlace = { sequence: cursor.position, payloadOffset: cursor.payloadOffset };
  if (batch !== undefined) {
    foreseen.batch(at, batch, { oldest, drops });
    at = batch.end;
  } else if (skippedTo !== undefined && skippedTo.sequence > at.sequence) {
    foreseen.add("skipped", { from: at, to: skippedTo });
    at = skippedTo;
  }
  if (oldest.sequence > at.sequence) {
    const { startSequence } = cursor;
    foreseen.pass(lossesBetween({ from: at, to: oldest, drops, startSequence, nowMs }));
    at = oldest;
  }
  // A log that ends before its cursor has lost messages; nothing of it is pending, and nothing less was appended.
  const end = next.sequence < at.sequence ? at : next;
  foreseen.add("pending", { from: at, to: end });
  const appended = { messages: end.sequence, payloadBytes: end.payloadOffset };
  return { appended, ...foreseen.result };
}

interface Span {
  readonly from: StreamPlace;
  readonly to: StreamPlace;
}

class Foreseen {
  readonly #totals: Record<ExporterAccount | "pending" | "rewound", MessageTotals>;
  readonly #losses: StreamLoss[];

  constructor({ accounts, rewound, ranges }: CursorRecord) {
    this.#totals = { ...accounts, rewound, pending: NO_MESSAGES };
    this.#losses = [...ranges];
  }

  get result(): Omit<LiveAccount, "appended"> {
    const { pending, rewound, ...accounts } = this.#totals;
    return { accounts, pending, rewound, losses: this.#losses };
  }

  add(account: ExporterAccount | "pending", { from, to }: Span): void {
    const payloadBytes = to.payloadOffset - from.payloadOffset;
    const messages = to.sequence - from.sequence;
    this.#count(account, { messages, payloadBytes: Math.max(0, payloadBytes) });
    // As AccountKeeper does where the payload offsets of log and cursor part.
    if (payloadBytes < 0) this.#count("rewound", { messages: 0, payloadBytes: -payloadBytes });
  }

  pass(losses: readonly StreamLoss[]): void {
    for (const loss of losses) {
      this.add(accountOfLoss(loss.reason), { from: rangeStart(loss), to: rangeEnd(loss) });
      addRange(this.#losses, loss);
    }
  }

  /** Of a batch in hand, what waits and is gone was found so, or will be; the rest is settled with the batch. */
  batch(
    from: StreamPlace,
    { end, entries }: PendingBatch,
    { oldest, drops }: Pick<Standing, "oldest" | "drops">,
  ): void {
    this.add("pending", { from, to: end });
    for (const entry of entries) {
      if (entry.sequence >= oldest.sequence) break;
      const reason = isOpen(entry) ? reasonOf(entry.sequence, drops) : dropReasonOf(entry);
      if (reason === undefined) continue;
      this.#count(accountOfLoss(reason), { messages: 1, payloadBytes: entry.bytes });
      this.#count("pending", { messages: -1, payloadBytes: -entry.bytes });
    }
  }

  #count(account: ExporterAccount | "pending" | "rewound", totals: MessageTotals): void {
    this.#totals[account] = addTotals(this.#totals[account], totals);
  }
}

/** Why retention took a message that an earlier task found gone; undefined where it has another fate. */
function dropReasonOf({ fate }: PendingEntry): LossReason | undefined {
  switch (fate) {
    case LossReason.Overwritten:
    case LossReason.Expired:
    case LossReason.Deleted:
    case LossReason.Missing:
      return fate;
    default:
      return undefined;
  }
}

/** Whether an account explains everything that was appended. */
export function addsUp({ appended, rewound, pending, accounts }: LiveAccount): boolean {
  const explained = addTotals(accountedTotals(accounts), pending);
  const all = addTotals(appended, rewound);
  return explained.messages === all.messages && explained.payloadBytes === all.payloadBytes;
}
