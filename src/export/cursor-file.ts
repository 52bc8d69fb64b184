/** One exporter's cursor on disk (cursor-layout.ts), in a file of two slots. That of another stream is a damaged one. */
import path from "node:path";
import { systemCode } from "../core/errors.ts";
import { laterOf, STREAM_START, type StreamPlace } from "../core/stream-ledger.ts";
import { makeDirectoryIfMissing } from "../log/durable-file.ts";
import { inspectSlots, type Slot, SlotFile } from "../log/slot-file.ts";
import type { Storage } from "../log/storage.ts";
import { streamSeed } from "../log/stream-seed.ts";
import { CURSOR_BYTES_MAX, decodeCursor, encodeCursor, type CursorRecord } from "./cursor-layout.ts";

/** Where an exporter's cursor is. A `Memory` stream has none on disk. */
export interface CursorPlace {
  readonly streamDirectory: string;
  readonly exporterId: string;
}

export function isSamePlace(one: CursorPlace, other: CursorPlace): boolean {
  return one.exporterId === other.exporterId && one.streamDirectory === other.streamDirectory;
}

const DIRECTORY = "exporters";
const SUFFIX = ".cursor";
const EXPORTER_ID = /^[0-9a-f]{32}(?:-redrive)?$/;

/** Where the exporters of a stream have their files. */
export function exportersDirectory(streamDirectory: string): string {
  return path.join(streamDirectory, DIRECTORY);
}

/** Where an exporter has a file that is called as its cursor but for the suffix. */
export function besideCursor({ streamDirectory, exporterId }: CursorPlace, suffix: string): string {
  return path.join(exportersDirectory(streamDirectory), `${exporterId}${suffix}`);
}

export function cursorPath(place: CursorPlace): string {
  return besideCursor(place, SUFFIX);
}

/** What is in a directory; nothing where it is not there. @throws the system's error */
export function namesIn(storage: Storage, directory: string): string[] {
  try {
    return storage.list(directory).map(({ name }) => name);
  } catch (error) {
    if (systemCode(error) === "ENOENT") return [];
    throw error;
  }
}

/** The exporters and redrives of which a stream has a file of that suffix. @throws the system's error */
export function exporterIdsWith(storage: Storage, streamDirectory: string, suffix: string): string[] {
  return namesIn(storage, exportersDirectory(streamDirectory))
    .filter((name) => name.endsWith(suffix))
    .map((name) => name.slice(0, -suffix.length))
    .filter((exporterId) => EXPORTER_ID.test(exporterId));
}

function slotsOf(place: CursorPlace): { path: string; contentBytesMax: number; crcSeed: number } {
  const crcSeed = streamSeed(place.streamDirectory);
  return { path: cursorPath(place), contentBytesMax: CURSOR_BYTES_MAX, crcSeed };
}

/** The exporters of which a stream has a cursor. @throws the system's error */
export function storedExporterIds(storage: Storage, streamDirectory: string): string[] {
  return exporterIdsWith(storage, streamDirectory, SUFFIX);
}

/**
 * The end of what the exporters of a stream have settled: messages below it were durable once, so a log that ends below it
 * has lost some. The beginning if there is no exporter that got anywhere. @throws the system's error
 */
export function exportedEnd(storage: Storage, streamDirectory: string): StreamPlace {
  let end = STREAM_START;
  for (const exporterId of storedExporterIds(storage, streamDirectory)) {
    const file = new CursorFile(storage, { streamDirectory, exporterId });
    file.close();
    const { position = 0, payloadOffset = 0 } = file.record ?? {};
    end = laterOf(end, { sequence: position, payloadOffset });
  }
  return end;
}

/** Export workers have the file in turns: what the one before knew to be durable is handed on with the task. */
export class CursorFile {
  readonly #storage: Storage;
  readonly #directory: string;
  readonly #file: SlotFile;
  #record: CursorRecord | undefined;

  /** Reads the file if there is one; the first write makes it. Close it when done. @throws the system's error */
  constructor(storage: Storage, place: CursorPlace, syncedSlot?: Slot) {
    this.#storage = storage;
    this.#directory = exportersDirectory(place.streamDirectory);
    this.#file = new SlotFile(storage, {
      ...slotsOf(place),
      syncedSlot,
    });
    const { content } = this.#file;
    this.#record = content === undefined ? undefined : decodeCursor(content);
  }

  /** The newest valid record; undefined if there is none. */
  get record(): CursorRecord | undefined {
    return this.#record;
  }

  get syncedSlot(): Slot | undefined {
    return this.#file.syncedSlot;
  }

  /** Whether the record is known to be on the medium. */
  get isSynced(): boolean {
    return this.#file.isSynced;
  }

  /** In the kernel on return, on the medium after `sync`. @throws the system's error */
  write(record: CursorRecord): void {
    const content = encodeCursor(record);
    if (this.#record === undefined) makeDirectoryIfMissing(this.#storage, this.#directory);
    this.#file.write(content);
    this.#record = record;
  }

  /** Makes what was written durable, beside the caller. Does nothing without a file. @throws the system's error */
  async sync(): Promise<void> {
    await this.#file.sync();
  }

  close(): void {
    this.#file.close();
  }

  /** Closes and removes the file. @throws the system's error */
  remove(): void {
    this.#file.remove();
  }
}

/** How the slots of a cursor file are, for those who look at files that may be damaged. Reads only. */
export interface CursorInspection {
  /** The record that holds; undefined when no slot is whole. */
  readonly record: CursorRecord | undefined;
  readonly slots: readonly { readonly offset: number; readonly state: "whole" | "unwritten" | "damaged" }[];
}

/** @throws the system's error when the file cannot be opened */
export function inspectCursor(storage: Storage, place: CursorPlace): CursorInspection {
  const found = inspectSlots(storage, slotsOf(place));
  const slots = found.map(({ offset, content, counter, isUnwritten }) => {
    const record = content === undefined ? undefined : decodeCursor(content);
    const state = record !== undefined ? "whole" : isUnwritten ? "unwritten" : "damaged";
    return { record, counter, slot: { offset, state } as const };
  });
  const newest = slots
    .filter(({ record }) => record !== undefined)
    .sort((one, other) => other.counter - one.counter)[0];
  return { record: newest?.record, slots: slots.map(({ slot }) => slot) };
}
