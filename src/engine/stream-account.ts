import { emptyLedger, type LedgerChange, type LedgerSnapshot, StreamLedger } from "../core/stream-ledger.ts";
import type { RecoveryNote } from "../stream/recovery-notes.ts";
import type { StreamFacts, StreamProgress } from "../stream/stream-channel.ts";
import { emptyProgress } from "../stream/stream-channel.ts";

/** What a worker answers when it has opened a stream. */
export interface OpenedStream {
  readonly progress?: StreamProgress | undefined;
  readonly ledger?: LedgerSnapshot | undefined;
  readonly facts?: StreamFacts | undefined;
  readonly notes?: readonly RecoveryNote[];
}

/**
 * What the main thread knows of a stream's storage: a copy of what its worker has. At all times, with `appended` the progress's
 * next number and payload offset, `ledger.stored(appended)` is what the stream holds.
 */
export class StreamAccount {
  /** The last process did not end cleanly, and no worker has opened the stream since. */
  isEndUnclean = false;
  #progress: StreamProgress = emptyProgress;
  #ledger = new StreamLedger();
  #facts: StreamFacts = {};
  /** What recovery cut off since the engine began, and how many pieces of it are kept. */
  tornTailBytes = 0;
  quarantinedCount = 0;
  /** What came up the ring before the answer to the opening was seen: it is newer than that. */
  #early: { readonly changes: LedgerChange[]; progress: StreamProgress | undefined } | undefined;

  get progress(): StreamProgress {
    return this.#progress;
  }
  get ledger(): StreamLedger {
    return this.#ledger;
  }
  get facts(): StreamFacts {
    return this.#facts;
  }

  /** A worker is asked to open the stream; what it tells from now on is about what it finds. */
  opening(): void {
    this.#early = { changes: [], progress: undefined };
  }

  /** The worker's answer replaces what was known. */
  opened({ progress, ledger, facts, notes = [] }: OpenedStream): void {
    for (const { kind, sizeBytes = 0 } of notes) {
      if (kind === "torn-tail") this.tornTailBytes += sizeBytes;
      if (kind === "quarantined") this.quarantinedCount += 1;
    }
    const early = this.#early;
    this.#early = undefined;
    this.isEndUnclean = false;
    this.#ledger = new StreamLedger(ledger ?? emptyLedger);
    this.#facts = facts ?? {};
    for (const change of early?.changes ?? []) this.#ledger.apply(change);
    this.#progress = early?.progress ?? progress ?? emptyProgress;
  }

  onProgress(progress: StreamProgress): void {
    if (this.#early === undefined) this.#progress = progress;
    else this.#early.progress = progress;
  }

  onLoss(change: LedgerChange): void {
    if (this.#early === undefined) this.#ledger.apply(change);
    else this.#early.changes.push(change);
  }

  onFacts(facts: StreamFacts): void {
    this.#facts = facts;
  }
}
