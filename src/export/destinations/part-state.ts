import type { FileHandle } from "node:fs/promises";
import { crc32 } from "node:zlib";
import { PART_STATE_BYTES } from "../../core/limits.ts";
import { type ExportDirectory, keptOpen } from "./export-directory.ts";

/** How far a file has come. */
export interface PartPlace {
  /** Of the file. */
  readonly bytes: number;
  /** Before compression. */
  readonly rawBytes: number;
  /** Behind the last message in it. */
  readonly nextSequence: number;
}

/** What is known of the file that is being written: as it is, and as it was before the last batch. */
export interface PartState {
  readonly partName: string;
  /** When it was begun, in Unix milliseconds. */
  readonly begunMs: number;
  readonly at: PartPlace;
  readonly before: PartPlace;
  /** What the messages of the last batch are, by `batchCrc`; not there in what was written before it was kept. */
  readonly lastCrc?: number;
  /** It is complete and gets this name. After a kill it may have both, or this one alone. */
  readonly finalName?: string;
}

/*
 * A file of two slots that are written in turns: CRC-32 in hexadecimal, a blank, JSON, blanks to the end. It is read before each
 * batch, since each may be another thread's; a power cut destroys the slot that is being written at most.
 */
const SLOTS = 2;
const CRC_DIGITS = 8;

interface Counted extends PartState {
  readonly counter: number;
}

export class PartStateFile {
  readonly #file: FileHandle;
  #newest: Counted | undefined;

  private constructor(file: FileHandle, newest: Counted | undefined) {
    this.#file = file;
    this.#newest = newest;
  }

  /** Opens it, or makes it; then its directory wants a sync. */
  static async open(directory: ExportDirectory, name: string): Promise<PartStateFile> {
    return PartStateFile.#read((await directory.openFile(name)) ?? (await directory.create(name)));
  }

  /** Undefined where there is none. */
  static async openIfThere(directory: ExportDirectory, name: string): Promise<PartStateFile | undefined> {
    const file = await directory.openFile(name);
    return file && PartStateFile.#read(file);
  }

  static #read(file: FileHandle): Promise<PartStateFile> {
    return keptOpen(file, async () => new PartStateFile(file, await readNewest(file)));
  }

  get state(): PartState | undefined {
    return this.#newest;
  }

  /** On the medium on return. @throws the system's error; then this state or the one before it is found */
  async write(state: PartState): Promise<void> {
    const counter = (this.#newest?.counter ?? 0) + 1;
    const { partName, begunMs, at, before, lastCrc, finalName } = state;
    const json = JSON.stringify({ counter, partName, begunMs, at, before, lastCrc, finalName });
    const text = `${checksum(json)} ${json}`.padEnd(PART_STATE_BYTES - 1) + "\n";
    const slot = Buffer.from(text);
    await writeAll(this.#file, slot, (counter % SLOTS) * PART_STATE_BYTES);
    await this.#file.datasync();
    this.#newest = { ...state, counter };
  }

  async close(): Promise<void> {
    await this.#file.close();
  }
}

/** Writes all of it. @throws the system's error; ENOSPC after a part of it */
export async function writeAll(file: FileHandle, bytes: Uint8Array, position: number): Promise<void> {
  for (let at = 0; at < bytes.length;) {
    const { bytesWritten } = await file.write(bytes, at, bytes.length - at, position + at);
    at += bytesWritten;
  }
}

async function readNewest(file: FileHandle): Promise<Counted | undefined> {
  const bytes = Buffer.alloc(SLOTS * PART_STATE_BYTES);
  const { bytesRead } = await file.read(bytes, 0, bytes.length, 0);
  let newest: Counted | undefined;
  for (let slot = 0; slot < SLOTS; slot += 1) {
    const start = slot * PART_STATE_BYTES;
    const found = decode(bytes.toString("utf8", start, Math.min(bytesRead, start + PART_STATE_BYTES)));
    if (found !== undefined && found.counter > (newest?.counter ?? 0)) newest = found;
  }
  return newest;
}

function decode(slot: string): Counted | undefined {
  const json = slot.slice(CRC_DIGITS + 1).trimEnd();
  if (json === "" || slot.slice(0, CRC_DIGITS) !== checksum(json)) return undefined;
  // With its checksum it is what `write` wrote.
  return JSON.parse(json) as Counted;
}

function checksum(json: string): string {
  return crc32(json).toString(16).padStart(CRC_DIGITS, "0");
}
