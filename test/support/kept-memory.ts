import type { SharedFile, SharedMemoryHooks } from "../../src/log/shared-memory-storage.ts";

/** The chunks of a stream in memory, as they are kept for the worker that comes after the one that writes them. */
export class KeptMemory {
  readonly #chunks = new Map<string, SharedArrayBuffer[]>();

  readonly hooks: SharedMemoryHooks = {
    onChunk: (path, index, chunk) => {
      this.#chunks.set(path, [...(this.#chunks.get(path) ?? []).slice(0, index), chunk]);
    },
    onUnlink: (path) => void this.#chunks.delete(path),
    onRename: (source, target) => {
      this.#chunks.set(target, this.#chunks.get(source)!);
      this.#chunks.delete(source);
    },
  };

  get files(): SharedFile[] {
    return [...this.#chunks].map(([path, chunks]) => ({ path, chunks: [...chunks] }));
  }

  get paths(): string[] {
    return [...this.#chunks.keys()];
  }
}
