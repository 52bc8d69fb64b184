import path from "node:path";

import { systemCode } from "../core/errors.ts";
import { decodeLedger, encodeLedger, LEDGER_BYTES_MAX, type LedgerRecord } from "./ledger-layout.ts";
import { isExhausted } from "./read-refusals.ts";
import { type Slot, SlotFile } from "./slot-file.ts";
import type { Storage } from "./storage.ts";

export const LEDGER_NAME = "ledger";

/** A stream's ledger on its storage. Open only while it is read or written: most streams write theirs once in hours. */
export class LedgerFile {
  readonly #storage: Storage;
  readonly #path: string;
  #syncedSlot: Slot | undefined;
  #hasFailed = false;
  #isThere = false;

  constructor(storage: Storage, directory: string) {
    this.#storage = storage;
    this.#path = path.join(directory, LEDGER_NAME);
  }

  /** Whether there is a file, whatever it holds: then a write needs no room on the medium. */
  get isThere(): boolean {
    return this.#isThere;
  }

  /** @returns "damaged" also when it cannot be read: its stream is opened all the same, and nothing is deleted for it */
  read(): LedgerRecord | "missing" | "damaged" {
    try {
      return this.#with({ isReadOnly: true }, (file) => {
        this.#isThere = file.isDamaged || file.content !== undefined;
        if (!this.#isThere) return "missing";
        return (file.content === undefined ? undefined : decodeLedger(file.content)) ?? "damaged";
      });
    } catch (error) {
      // Taken for damage, it would cost the stream its account.
      if (isExhausted(error)) throw error;
      if (systemCode(error) === "ENOENT") return "missing";
      this.#isThere = true;
      return "damaged";
    }
  }

  /** Durable on return. @throws the system's error; then this record or the one before is found at the next start */
  write(record: LedgerRecord): void {
    this.#with({ isReadOnly: false }, (file) => {
      file.write(encodeLedger(record));
      file.syncNow();
    });
    this.#isThere = true;
  }

  #with<Result>(how: { readonly isReadOnly: boolean }, use: (file: SlotFile) => Result): Result {
    const file = new SlotFile(this.#storage, {
      ...how,
      path: this.#path,
      contentBytesMax: LEDGER_BYTES_MAX,
      syncedSlot: this.#syncedSlot,
      hasFailed: this.#hasFailed,
    });
    try {
      return use(file);
    } finally {
      this.#syncedSlot = file.syncedSlot;
      this.#hasFailed = file.hasFailed;
      file.close();
    }
  }
}

/** What the ledger of a stream says, if it is there, whole and that stream's. */
export function ownRecord(found: ReturnType<LedgerFile["read"]>, streamId: Buffer): LedgerRecord | undefined {
  return typeof found === "object" && found.streamId.equals(streamId) ? found : undefined;
}
