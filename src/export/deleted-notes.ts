/**
 * What part-notes.ts notes, for streams that are deleted while a file of theirs cannot be completed: copies under
 * `left-files/<stream id>/` in the store, so that they outlast the stream's directory.
 */
import path from "node:path";
import { systemCode } from "../core/errors.ts";
import { makeDirectoryIfMissing } from "../log/durable-file.ts";
import type { Storage } from "../log/storage.ts";
import { type CursorPlace, exportersDirectory, namesIn } from "./cursor-file.ts";
import { addPartNote, notedExporterIds, readPartNotes, removePartNotes } from "./part-notes.ts";

const DIRECTORY = "left-files";

/** Only while the directory of a stream is gone are its copies followed: before, its own notes are. */
export class DeletedNotes {
  readonly #storage: Storage;
  readonly #directory: string;
  readonly #streamsDirectory: string;

  constructor({ storage, storeDirectory }: { storage: Storage; storeDirectory: string }) {
    this.#storage = storage;
    this.#directory = path.join(storeDirectory, DIRECTORY);
    this.#streamsDirectory = path.join(storeDirectory, "streams");
  }

  /** Copies what is noted in the directory of a stream, which may be removed then. Durable on return. @throws the system's error */
  keep(streamDirectory: string): CursorPlace[] {
    return notedExporterIds(this.#storage, streamDirectory).map((exporterId) => {
      const kept = path.join(this.#directory, path.basename(streamDirectory));
      makeDirectoryIfMissing(this.#storage, this.#directory);
      makeDirectoryIfMissing(this.#storage, kept);
      const place = { streamDirectory: kept, exporterId };
      for (const note of readPartNotes(this.#storage, { streamDirectory, exporterId }))
        addPartNote(this.#storage, place, note);
      return place;
    });
  }

  /** What the process before has not completed. @throws the system's error */
  all(): CursorPlace[] {
    return namesIn(this.#storage, this.#directory).flatMap((name) => {
      const streamDirectory = path.join(this.#directory, name);
      const exporterIds = notedExporterIds(this.#storage, streamDirectory);
      const places = exporterIds.map((exporterId) => ({ streamDirectory, exporterId }));
      const left = places.filter((place) => this.#presence(place) !== "there");
      // The stream was not deleted after all, and has its own.
      for (const place of places.filter((one) => !left.includes(one)))
        removePartNotes(this.#storage, place, readPartNotes(this.#storage, place));
      if (left.length === 0) this.clear(streamDirectory);
      return left;
    });
  }

  /** Whether the place is that of a copy of which the stream may be there: its deletion has not come to an end, or failed. */
  isEarly(place: CursorPlace): boolean {
    return this.#isOwn(place.streamDirectory) && this.#presence(place) !== "gone";
  }

  /** Of the stream that the copy is of. */
  #presence({ streamDirectory }: CursorPlace): "there" | "gone" | "unknown" {
    try {
      this.#storage.identify(path.join(this.#streamsDirectory, path.basename(streamDirectory)));
      return "there";
    } catch (error) {
      return systemCode(error) === "ENOENT" ? "gone" : "unknown";
    }
  }

  /** Removes the directories of copies of which nothing is left. */
  clear(streamDirectory: string): void {
    if (!this.#isOwn(streamDirectory)) return;
    try {
      const inner = exportersDirectory(streamDirectory);
      if (namesIn(this.#storage, inner).length > 0) return;
      if (namesIn(this.#storage, streamDirectory).length > 0) this.#storage.removeDirectory(inner);
      this.#storage.removeDirectory(streamDirectory);
    } catch {
      // They are empty: the next start removes them.
    }
  }

  #isOwn(streamDirectory: string): boolean {
    return path.dirname(streamDirectory) === this.#directory;
  }
}
