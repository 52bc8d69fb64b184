import assert from "node:assert/strict";
import { decodeEntry, encodeEntry } from "../../src/export/set-aside-entry.ts";
import type { KeptAside, SetAsideRequest } from "../../src/export/set-aside-keeper.ts";
import { LogReader } from "../../src/log/log-reader.ts";
import type { Storage } from "../../src/log/storage.ts";
import { StreamLog } from "../../src/log/stream-log.ts";
import type { ManualClock, SeededRandom } from "../support/deterministic.ts";
import { blockOf, costOf, logOptions, smallPolicy, unpack } from "../support/log-fixture.ts";
import type { SimStorage } from "../support/sim-storage.ts";

const DIRECTORY = "/store/companion";
const ENTRY_BYTES_MAX = 100_000;

/** The companion stream of a simulated one: a log of its own on the same storage, made when it is first needed. */
export class SimCompanion {
  readonly #storage: SimStorage;
  readonly #options: Parameters<typeof StreamLog.open>[0];
  #log: StreamLog | undefined;

  /** `files` is the storage as the log sees it. */
  constructor(
    storage: SimStorage,
    { files, clock, random }: { files: Storage; clock: ManualClock; random: SeededRandom },
  ) {
    this.#storage = storage;
    const streamId = "c0ffee00".repeat(4);
    this.#options = logOptions(files, { directory: DIRECTORY, streamId, clock, random, policy: smallPolicy });
    this.#log = isThere(storage) ? StreamLog.open(this.#options).log : undefined;
  }

  /** All or nothing, and on the medium when it resolves. */
  keep({ origin, messages }: SetAsideRequest): KeptAside {
    this.#log ??= StreamLog.create(this.#options);
    const entries = messages.map((message) =>
      encodeEntry(message, origin, ENTRY_BYTES_MAX).toString("latin1"),
    );
    const block = blockOf(entries, origin.nowMs);
    this.#log.admit(costOf(block));
    this.#log.append(block);
    const failures = ["not synced"];
    this.#log.sync(
      (failure) => void failures.splice(0, 1, ...(failure === undefined ? [] : [failure.message])),
    );
    this.#storage.completeSyncs();
    const [error = ""] = failures;
    const kept = error === "" ? messages.map(({ sequence }) => sequence) : [];
    return { streamName: "s.set-aside", kept, error };
  }

  /** The payloads that what is on `storage` holds, by sequence number, as the next process finds them; text as latin1. */
  static entriesOn(
    storage: SimStorage,
    with_: { clock: ManualClock; random: SeededRandom },
  ): Map<number, string[]> {
    const found = new Map<number, string[]>();
    if (!isThere(storage)) return found;
    const log = new SimCompanion(storage, { files: storage, ...with_ }).#log!;
    const reader = new LogReader({ storage, directory: DIRECTORY });
    let at = log.oldestSequence;
    while (at < log.syncedEndSequence) {
      const request = { fromSequence: at, endSequence: log.syncedEndSequence };
      for (const slice of reader.read({ ...request, messageCountMax: 1000, bytesMax: 1_000_000 })) {
        assert.equal(slice.kind, "messages", "what was synced can be read");
        at = slice.firstSequence + slice.messageCount;
        for (const text of unpack(slice)) {
          const entry = decodeEntry(Buffer.from(text, "latin1"));
          assert.ok(entry?.payload !== undefined, "an entry with its payload");
          const payload = Buffer.from(entry.payload, "base64").toString("latin1");
          found.set(entry.sequenceNumber, [...(found.get(entry.sequenceNumber) ?? []), payload]);
        }
      }
    }
    return found;
  }
}

function isThere(storage: SimStorage): boolean {
  return storage.list("/store").some(({ name }) => name === "companion");
}
