import { MillraceError } from "../core/errors.ts";
import type { StreamEntry } from "./stream-entry.ts";

/** Every stream by name, deleted ones not included. Names are only ever keys here, never parts of a path. */
export class Catalog {
  readonly #byName = new Map<string, StreamEntry>();
  readonly #byId = new Map<string, StreamEntry>();
  readonly #streamsMax: number;

  constructor(options: { streamsMax: number }) {
    this.#streamsMax = options.streamsMax;
  }

  get names(): string[] {
    return [...this.#byName.values()].filter(isVisible).map((entry) => entry.definition.name);
  }

  get entries(): Iterable<StreamEntry> {
    return this.#byName.values();
  }

  get size(): number {
    return this.#byName.size;
  }

  /** @throws {MillraceError} STREAM_EXISTS, STREAM_LIMIT */
  add(entry: StreamEntry): void {
    const { name } = entry.definition;
    this.assertFree(name);
    this.#byName.set(name, entry);
    this.#byId.set(entry.streamId, entry);
  }

  /** Takes a stream of the store, for which there is room whatever the limit is by now. @throws {MillraceError} STREAM_EXISTS */
  addStored(entry: StreamEntry): void {
    const { name } = entry.definition;
    this.#assertUnknown(name);
    this.#byName.set(name, entry);
    this.#byId.set(entry.streamId, entry);
  }

  #assertUnknown(name: string): void {
    if (this.#byName.has(name)) throw new MillraceError("STREAM_EXISTS", `Stream "${name}" already exists`);
  }

  assertFree(name: string): void {
    this.#assertUnknown(name);
    if (this.#byName.size < this.#streamsMax) return;
    const text = `Cannot create stream "${name}": ${this.#byName.size} streams, at most ${this.#streamsMax}`;
    throw new MillraceError("STREAM_LIMIT", text);
  }

  remove(entry: StreamEntry): void {
    if (this.#byName.get(entry.definition.name) === entry) this.#byName.delete(entry.definition.name);
    this.#byId.delete(entry.streamId);
  }

  /** A stream in whatever state, for whoever only tells of it. @throws {MillraceError} STREAM_NOT_FOUND */
  find(name: string): StreamEntry {
    const entry = this.#byName.get(name);
    if (entry === undefined || !isVisible(entry)) throw notFound(name);
    return entry;
  }

  /** A stream in whatever state. */
  entryOf(name: string): StreamEntry | undefined {
    return this.#byName.get(name);
  }

  withId(streamId: string): StreamEntry | undefined {
    return this.#byId.get(streamId);
  }

  /** A stream that takes requests. @throws {MillraceError} STREAM_NOT_FOUND, SERVER_BUSY */
  get(name: string): StreamEntry {
    const entry = this.#byName.get(name);
    if (entry === undefined) throw notFound(name);
    assertOpen(entry);
    return entry;
  }
}

/** @throws {MillraceError} STREAM_NOT_FOUND, STREAM_FENCED, SERVER_BUSY */
export function assertOpen(entry: StreamEntry): void {
  if (entry.lifecycle === "open") return;
  const { name } = entry.definition;
  if (entry.lifecycle === "fenced") {
    throw new MillraceError("STREAM_FENCED", `Stream "${name}" could not be recovered: ${entry.fault}`);
  }
  if (entry.lifecycle !== "recovering") throw notFound(name);
  throw new MillraceError("SERVER_BUSY", `Stream "${name}" is recovering after its worker ended: retry`);
}

function isVisible({ lifecycle }: StreamEntry): boolean {
  return lifecycle !== "opening" && lifecycle !== "deleting";
}

function notFound(name: string): MillraceError {
  return new MillraceError("STREAM_NOT_FOUND", `Stream "${name}" does not exist`);
}
