/**
 * Where files grow that an exporter writes outside of the store: a durable file beside its cursor (log/durable-file.ts), so that
 * they are completed whatever becomes of the exporter, and of this process.
 */
import { FILE_EXPORT_PLACES_MAX } from "../core/limits.ts";
import {
  makeDirectoryIfMissing,
  readDurableFile,
  removeIfThere,
  writeDurableFile,
} from "../log/durable-file.ts";
import type { Storage } from "../log/storage.ts";
import { streamSeed } from "../log/stream-seed.ts";
import { besideCursor, type CursorPlace, exporterIdsWith, exportersDirectory } from "./cursor-file.ts";

/** One file at most grows there, and the file `state` in the same directory says which. */
export interface PartNote {
  readonly directory: string;
  readonly state: string;
}

const SUFFIX = ".files";

function notesPath(place: CursorPlace): string {
  return besideCursor(place, SUFFIX);
}

/** The exporters of which a stream has notes. @throws the system's error */
export function notedExporterIds(storage: Storage, streamDirectory: string): string[] {
  return exporterIdsWith(storage, streamDirectory, SUFFIX);
}

/**
 * Empty where there are none, or none that can be trusted: then a file waits for the next batch, as it did before.
 * @throws the system's error when this process can open no more files
 */
export function readPartNotes(storage: Storage, place: CursorPlace): readonly PartNote[] {
  const content = readDurableFile(storage, notesPath(place), streamSeed(place.streamDirectory));
  // With its checksum it is what was written.
  return typeof content === "string" ? [] : (JSON.parse(content.toString()) as PartNote[]);
}

/** Notes a place before a file is made there. Of too many the oldest is forgotten. Durable on return. @throws the system's error */
export function addPartNote(storage: Storage, place: CursorPlace, { directory, state }: PartNote): void {
  const notes = readPartNotes(storage, place);
  if (notes.some((note) => isSame(note, { directory, state }))) return;
  const kept = notes.slice(Math.max(0, notes.length + 1 - FILE_EXPORT_PLACES_MAX));
  makeDirectoryIfMissing(storage, exportersDirectory(place.streamDirectory));
  writePartNotes(storage, place, [...kept, { directory, state }]);
}

/** Of those that are noted by now. Durable on return, but for the last: that may come again. @throws the system's error */
export function removePartNotes(storage: Storage, place: CursorPlace, notes: readonly PartNote[]): void {
  const kept = readPartNotes(storage, place).filter((note) => !notes.some((one) => isSame(one, note)));
  writePartNotes(storage, place, kept);
}

function isSame(one: PartNote, other: PartNote): boolean {
  return one.directory === other.directory && one.state === other.state;
}

function writePartNotes(storage: Storage, place: CursorPlace, notes: readonly PartNote[]): void {
  const filePath = notesPath(place);
  if (notes.length === 0) removeIfThere(storage, filePath);
  else
    writeDurableFile(
      storage,
      filePath,
      Buffer.from(JSON.stringify(notes)),
      streamSeed(place.streamDirectory),
    );
}
