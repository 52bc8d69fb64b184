import path from "node:path";
import { MillraceError, asMillraceError, systemCode } from "../core/errors.ts";
import { type Random, randomHex } from "../core/random.ts";
import type { StreamDefinition } from "../core/stream-definition.ts";
import { TEMPORARY_SUFFIX, readDurableFile, writeDurableFile } from "../log/durable-file.ts";
import type { Storage } from "../log/storage.ts";
import { removeDeletedStreams } from "../log/stream-deletion.ts";
import { decodeDefinition, definitionPath } from "./definition-file.ts";

const STREAM_ID_BYTES = 16;
const SEGMENT_SUFFIX = ".lz4";
const EPOCH_AFTER_DAMAGE = 2 ** 31;
const STREAM_ID_PATTERN = /^[0-9a-f]{32}$/;

/** A stream as its directory tells of it. */
export interface StoredStream {
  readonly streamId: string;
  readonly directory: string;
  readonly definition: StreamDefinition;
}

/** A directory under streams/ that cannot be served and is left as it is, with the reason. */
export interface FencedDirectory {
  readonly directory: string;
  readonly reason: string;
}

export interface StoreContents {
  /** Counts the starts of this store; written into every block. */
  readonly epoch: number;
  readonly streams: readonly StoredStream[];
  readonly fenced: readonly FencedDirectory[];
}

/** Makes the store's directory, and those above it, where they are missing. */
export function makeStoreRoot(storage: Storage, storeDirectory: string): void {
  const parent = path.dirname(storeDirectory);
  try {
    storage.makeDirectory(storeDirectory);
    storage.syncDirectory(parent);
  } catch (thrown) {
    if (systemCode(thrown) === "EEXIST") return;
    if (systemCode(thrown) !== "ENOENT" || parent === storeDirectory) throw thrown;
    makeStoreRoot(storage, parent);
    // Once: under /proc, or behind a link to nowhere, a directory is missing whatever is made above it.
    storage.makeDirectory(storeDirectory);
    storage.syncDirectory(parent);
  }
}

/** Opens the store's own files: makes the folders, counts the start, lists the streams. Never deletes what it cannot read. */
export function openStoreDirectory(options: { storage: Storage; storeDirectory: string }): StoreContents {
  const { storage, storeDirectory } = options;
  ensureDirectory(storage, `${storeDirectory}/streams`, storeDirectory);
  removeDeletedStreams(storage, `${storeDirectory}/streams`);
  const epoch = countStart(storage, `${storeDirectory}/epoch`);
  const streams: StoredStream[] = [];
  const fenced: FencedDirectory[] = [];
  for (const entry of storage.list(`${storeDirectory}/streams`)) {
    const directory = `${storeDirectory}/streams/${entry.name}`;
    if (entry.kind !== "directory" || !STREAM_ID_PATTERN.test(entry.name)) {
      fenced.push({ directory, reason: "is not a stream of this store" });
      continue;
    }
    const read = readDefinition(storage, directory);
    if ("definition" in read) streams.push({ streamId: entry.name, directory, definition: read.definition });
    else if (!removeHalfMade(storage, directory)) fenced.push({ directory, reason: read.reason });
  }
  return { epoch, streams: withoutNamesakes(storage, streams, fenced), fenced };
}

/**
 * Two streams of one name: a creation failed after its definition was written, and was tried again. What was appended is in the
 * other one, so the one with segments counts.
 */
function withoutNamesakes(
  storage: Storage,
  streams: readonly StoredStream[],
  fenced: FencedDirectory[],
): StoredStream[] {
  const byName = new Map<string, StoredStream>();
  for (const stream of streams) {
    const { name } = stream.definition;
    const namesake = byName.get(name);
    const isBetter =
      namesake !== undefined && !hasSegments(storage, namesake) && hasSegments(storage, stream);
    if (namesake === undefined || isBetter) byName.set(name, stream);
    const left = isBetter ? namesake : namesake === undefined ? undefined : stream;
    if (left !== undefined)
      fenced.push({ directory: left.directory, reason: `has the name of another, "${name}"` });
  }
  return [...byName.values()];
}

function hasSegments(storage: Storage, { directory }: StoredStream): boolean {
  return storage.list(directory).some(({ name }) => name.endsWith(SEGMENT_SUFFIX));
}

/** A fresh id and its directory; ids never come from names. */
export function newStreamDirectory(
  random: Random,
  storeDirectory: string,
): { streamId: string; directory: string } {
  const streamId = randomHex(random, STREAM_ID_BYTES);
  return { streamId, directory: `${storeDirectory}/streams/${streamId}` };
}

/** The directory of a Memory stream, which holds its definition and its exporters' cursors. */
export function makeStreamDirectory(storage: Storage, directory: string): void {
  storage.makeDirectory(directory);
  storage.syncDirectory(path.dirname(directory));
}

function ensureDirectory(storage: Storage, directory: string, parent: string): void {
  try {
    storage.makeDirectory(directory);
    storage.syncDirectory(parent);
  } catch (thrown) {
    if (systemCode(thrown) !== "EEXIST") throw thrown;
  }
}

function countStart(storage: Storage, file: string): number {
  const stored = readDurableFile(storage, file);
  // A damaged count starts again far ahead of any real one, so that epochs still never repeat.
  const epoch =
    stored === "missing" ? 1 : stored === "damaged" ? EPOCH_AFTER_DAMAGE : stored.readUInt32LE(0) + 1;
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(epoch, 0);
  writeDurableFile(storage, file, bytes);
  return epoch;
}

function readDefinition(
  storage: Storage,
  directory: string,
): { definition: StreamDefinition } | { reason: string } {
  try {
    const bytes = readDurableFile(storage, definitionPath(directory));
    if (bytes === "missing") return { reason: "has no definition" };
    if (bytes === "damaged") return { reason: "has a damaged definition" };
    return { definition: decodeDefinition(bytes) };
  } catch (thrown) {
    return { reason: `has an unreadable definition: ${asMillraceError(thrown).message}` };
  }
}

/** A crash between making a stream and its answer leaves an empty directory: nothing was acknowledged in it. */
function removeHalfMade(storage: Storage, directory: string): boolean {
  const entries = storage.list(directory);
  if (entries.some((entry) => entry.name !== `definition${TEMPORARY_SUFFIX}`)) return false;
  for (const entry of entries) storage.unlink(`${directory}/${entry.name}`);
  storage.removeDirectory(directory);
  return true;
}

/** The store cannot be used at all. */
export function storeUnusable(storeDirectory: string, thrown: unknown): MillraceError {
  const error = asMillraceError(thrown);
  if (error.code !== "INTERNAL") return error;
  return new MillraceError("STORE_UNUSABLE", `Cannot use store "${storeDirectory}": ${error.message}`, {
    cause: thrown,
  });
}
