import path from "node:path";
import { MillraceError, asMillraceError, systemCode } from "../core/errors.ts";
import { type Random, randomHex } from "../core/random.ts";
import { makeDirectoryIfMissing, TEMPORARY_SUFFIX, readDurableFile } from "../log/durable-file.ts";
import { isExhausted } from "../log/read-refusals.ts";
import type { Storage } from "../log/storage.ts";
import { removeDeletedStreams } from "../log/stream-deletion.ts";
import { type StoredDefinition, decodeDefinition, definitionPath } from "./definition-file.ts";
import { countStart, type StoreStart } from "./store-epoch.ts";

const STREAM_ID_BYTES = 16;
const SEGMENT_SUFFIX = ".lz4";
const STREAM_ID_PATTERN = /^[0-9a-f]{32}$/;

/** A stream as its directory tells of it. */
export interface StoredStream extends StoredDefinition {
  readonly streamId: string;
  readonly directory: string;
}

/** A directory under streams/ that cannot be served and is left as it is, with the reason. */
export interface FencedDirectory {
  readonly directory: string;
  readonly reason: string;
  /** What stands against it: it is no stream, its definition cannot be read, or another stream has its name. */
  readonly cause: "foreign" | "definition" | "name";
}

export interface StoreContents extends StoreStart {
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

/**
 * Opens the store's own files: makes the folders, counts the start, lists the streams. Never deletes what it cannot read.
 * @throws the system's error
 */
export function openStoreDirectory(options: { storage: Storage; storeDirectory: string }): StoreContents {
  const { storage, storeDirectory } = options;
  ensureDirectory(storage, `${storeDirectory}/streams`);
  removeDeletedStreams(storage, `${storeDirectory}/streams`);
  const start = countStart(storage, storeDirectory);
  const streams: StoredStream[] = [];
  const fenced: FencedDirectory[] = [];
  for (const entry of storage.list(`${storeDirectory}/streams`)) {
    const directory = `${storeDirectory}/streams/${entry.name}`;
    if (entry.kind !== "directory" || !STREAM_ID_PATTERN.test(entry.name)) {
      fenced.push({ directory, reason: "is not a stream of this store", cause: "foreign" });
      continue;
    }
    const read = readDefinition(storage, directory);
    if ("definition" in read) streams.push({ streamId: entry.name, directory, ...read });
    else if (!removeHalfMade(storage, directory))
      fenced.push({ directory, reason: read.reason, cause: "definition" });
  }
  // Once for all streams: the last process may have died before the medium had their names.
  storage.syncDirectory(`${storeDirectory}/streams`);
  return { ...start, streams: withoutNamesakes(storage, streams, fenced), fenced };
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
    if (left !== undefined) {
      const reason = `has the name of another, "${name}"`;
      fenced.push({ directory: left.directory, reason, cause: "name" });
    }
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

function ensureDirectory(storage: Storage, directory: string): void {
  if (makeDirectoryIfMissing(storage, directory)) return;
  // Who owns the store was asked of its root: a link would lead out of what that answer is about.
  const entries = storage.list(path.dirname(directory));
  if (entries.some(({ name, kind }) => name === path.basename(directory) && kind === "directory")) return;
  throw new MillraceError("STORE_UNUSABLE", `Cannot use ${directory}: it is not a directory of the store`);
}

function readDefinition(storage: Storage, directory: string): StoredDefinition | { reason: string } {
  try {
    const bytes = readDurableFile(storage, definitionPath(directory));
    if (bytes === "missing") return { reason: "has no definition" };
    if (bytes === "damaged") return { reason: "has a damaged definition" };
    return decodeDefinition(bytes, directory);
  } catch (thrown) {
    // Taken for one without a definition, it would leave its name to a second stream.
    if (isExhausted(thrown)) throw thrown;
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
