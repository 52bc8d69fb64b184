import { EXPORT_READERS_MAX } from "../core/limits.ts";
import { LogReader } from "../log/log-reader.ts";
import { SharedMemoryStorage } from "../log/shared-memory-storage.ts";
import type { Storage } from "../log/storage.ts";
import type { MessageReader } from "./batch-reader.ts";
import type { BatchTask } from "./export-channel.ts";

/** The streams that this thread read last, each with its open segment and decoded block. */
export class LogReaderCache {
  readonly #storage: Storage;
  /** The one used longest ago comes first. */
  readonly #readers = new Map<string, LogReader>();

  constructor(storage: Storage) {
    this.#storage = storage;
  }

  open({ streamDirectory: directory, memory }: BatchTask): MessageReader {
    if (memory !== undefined) {
      return new LogReader({ storage: new SharedMemoryStorage({ files: memory }), directory });
    }
    const reader = this.#readers.get(directory) ?? new LogReader({ storage: this.#storage, directory });
    this.#readers.delete(directory);
    this.#readers.set(directory, reader);
    if (this.#readers.size > EXPORT_READERS_MAX) this.#closeOldest();
    return reader;
  }

  #closeOldest(): void {
    const [oldest] = this.#readers;
    if (oldest === undefined) return;
    oldest[1].close();
    this.#readers.delete(oldest[0]);
  }
}
