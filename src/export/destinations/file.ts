import { createHash } from "node:crypto";
import type { FileHandle } from "node:fs/promises";
import { promisify } from "node:util";
import { gzip } from "node:zlib";
import { assert } from "../../core/assert.ts";
import { type Clock, systemClock, wallMs } from "../../core/clock.ts";
import { MillraceError, systemCode, textOf } from "../../core/errors.ts";
import {
  FILE_EXPORT_BATCH_BYTES_MAX,
  FILE_EXPORT_BATCH_RECORDS_MAX,
  FILE_EXPORT_NAME_TRIES_MAX,
  FILE_EXPORT_RECORD_OVERHEAD_BYTES,
  MESSAGE_BYTES_MAX_DEFAULT,
} from "../../core/limits.ts";
import type { DestinationSettings } from "../exporter-settings.ts";
import type { DestinationEnvironment } from "../worker-settings.ts";
import type {
  Destination,
  DestinationLimits,
  ExportRecord,
  SendContext,
  SendOutcome,
} from "./destination.ts";
import { ExportDirectory, keptOpen } from "./export-directory.ts";
import { type PartPlace, type PartState, PartStateFile, writeAll } from "./part-state.ts";

const compress = promisify(gzip);

const limits: DestinationLimits = {
  recordsMax: FILE_EXPORT_BATCH_RECORDS_MAX,
  requestBytesMax: FILE_EXPORT_BATCH_BYTES_MAX,
  recordBytesMax: MESSAGE_BYTES_MAX_DEFAULT + FILE_EXPORT_RECORD_OVERHEAD_BYTES,
  recordOverheadBytes: FILE_EXPORT_RECORD_OVERHEAD_BYTES,
};

type FileSettings = DestinationSettings & { readonly kind: "file" };

export interface FileOptions {
  readonly environment: Pick<DestinationEnvironment, "fileDirectories">;
  readonly clock?: Clock;
}

/**
 * Files of messages. A file is called `.part` while it grows and gets its name when it is complete, so that whoever takes files
 * takes whole ones; names sort by the first sequence number. A batch is on the medium when it counts as accepted. What a kill left
 * of a batch that was not is cut off with the next one, also where the batch is all there but the position was not written: then
 * the same messages come again and take its place.
 */
export class FileDestination implements Destination {
  readonly #options: FileOptions;
  readonly #clock: Clock;

  constructor(options: FileOptions) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
  }

  limitsFor(): DestinationLimits {
    return limits;
  }

  async send(
    settings: DestinationSettings,
    records: readonly ExportRecord[],
    context: SendContext,
  ): Promise<SendOutcome> {
    assert(settings.kind === "file", `a ${settings.kind} batch cannot go to a file`);
    let directory: ExportDirectory | undefined;
    let states: PartStateFile | undefined;
    try {
      directory = await ExportDirectory.open(settings.directory, this.#options.environment.fileDirectories);
      const names = namesOf(settings, context);
      states = await PartStateFile.open(directory, names.state);
      await this.#append({ directory, states, settings, names }, records, context);
      return { kind: "answered", failed: [], error: "", requestBytes: 0 };
    } catch (error) {
      return { ...judge(error, settings.directory), requestBytes: 0 };
    } finally {
      // What was written is synced: to close it has nothing more to say.
      await states?.close().catch(() => undefined);
      await directory?.close().catch(() => undefined);
    }
  }

  close(): void {
    // Nothing stays open between two batches.
  }

  async #append(place: Place, records: readonly ExportRecord[], context: SendContext): Promise<void> {
    const { states, settings } = place;
    const first = records[0]!.sequence;
    const nextSequence = records.at(-1)!.sequence + 1;
    const text = encode(records, settings, context);
    const bytes = settings.gzip ? await compress(text) : text;
    const { file, state } = await this.#open(place, { first, nextSequence, count: records.length });
    try {
      await writeAll(file, bytes, state.at.bytes);
      await file.datasync();
    } catch (error) {
      // Room for others on a full disk; what cannot be cut now is cut with the next batch.
      await file.truncate(state.at.bytes).catch(() => undefined);
      throw error;
    } finally {
      await file.close();
    }
    const at = {
      bytes: state.at.bytes + bytes.length,
      rawBytes: state.at.rawBytes + text.length,
      nextSequence,
    };
    const written = {
      ...state,
      // By a wall clock that was set back it would not grow old.
      begunMs: Math.min(state.begunMs, wallMs(this.#clock)),
      at,
      before: { ...state.at, nextSequence: first },
    };
    await states.write(written);
    if (this.#isComplete(written, settings)) await complete(place, written);
  }

  /** The file that the batch belongs into, cut to where the batch begins. */
  async #open(place: Place, batch: Batch): Promise<OpenPart> {
    const { directory, states, settings, names } = place;
    const known = states.state;
    if (known === undefined) return this.#begin(place, batch.first);
    if (known.finalName !== undefined) {
      await complete(place, known);
      return this.#begin(place, batch.first);
    }
    const file = await directory.openFile(known.partName);
    if (file === undefined) return this.#begin(place, batch.first);
    try {
      const { size } = await file.stat();
      const isFitting = size >= known.at.bytes && known.partName.endsWith(names.partEnding);
      const isContinued = isFitting && !this.#isComplete(known, settings);
      const at = isContinued ? startOf(known, batch) : known.at;
      const state = at === known.at ? known : { ...known, at, before: at };
      // First of all: should the one that takes its place be torn, the batch that stood there must not count any more.
      if (state !== known) await states.write(state);
      if (size > at.bytes) await file.truncate(at.bytes);
      if (isContinued) return { file, state };
      await file.datasync();
    } catch (error) {
      await file.close();
      throw error;
    }
    await file.close();
    await complete(place, known);
    return this.#begin(place, batch.first);
  }

  async #begin({ directory, states, names }: Place, first: number): Promise<OpenPart> {
    const start: PartPlace = { bytes: 0, rawBytes: 0, nextSequence: first };
    for (let attempt = 0; attempt < FILE_EXPORT_NAME_TRIES_MAX; attempt += 1) {
      const partName = names.partOf(first, attempt);
      if ((await directory.has(finalNameOf(partName))) || (await directory.has(partName))) continue;
      // Known before it is there, so that no file is left of which nobody knows.
      const state = { partName, begunMs: wallMs(this.#clock), at: start, before: start };
      await states.write(state);
      const file = await directory.create(partName);
      return { file: await keptOpen(file, () => directory.sync()), state };
    }
    throw allNamesTaken(names.partOf(first, 0));
  }

  #isComplete({ at, begunMs }: PartState, { rotateBytes, rotateMs }: FileSettings): boolean {
    const isOld = rotateMs !== undefined && this.#clock.nowMs() - begunMs >= rotateMs;
    return at.bytes > 0 && (at.rawBytes >= rotateBytes || isOld);
  }
}

interface Place {
  readonly directory: ExportDirectory;
  readonly states: PartStateFile;
  readonly settings: FileSettings;
  readonly names: Names;
}

interface Batch {
  readonly first: number;
  readonly nextSequence: number;
  readonly count: number;
}

interface OpenPart {
  readonly file: FileHandle;
  readonly state: PartState;
}

/**
 * Where a batch begins in the file: at its end, or, if it holds all messages of the last one, in the place of that, which would
 * not come again if it had counted as accepted.
 */
function startOf({ at, before }: PartState, { first, nextSequence, count }: Batch): PartPlace {
  const isRepeated =
    first === before.nextSequence &&
    before.nextSequence < at.nextSequence &&
    nextSequence >= at.nextSequence &&
    count === nextSequence - first;
  return isRepeated ? before : at;
}

/** Gives a file that is on the medium its name, or has it keep that alone which it got before a kill. */
async function complete({ directory, states }: Place, state: PartState): Promise<void> {
  const { partName, finalName } = state;
  if (finalName !== undefined && !(await directory.has(partName))) return;
  if (finalName !== undefined && (await directory.isSame(partName, finalName))) {
    await directory.remove(partName);
    await directory.sync();
    return;
  }
  for (let attempt = 0; attempt < FILE_EXPORT_NAME_TRIES_MAX; attempt += 1) {
    const name = finalNameOf(partName, attempt);
    if (await directory.has(name)) continue;
    // Known before it has it: what has two names is complete, whoever takes one of them meanwhile.
    await states.write({ ...state, finalName: name });
    if (!(await directory.renameNew(partName, name))) continue;
    await directory.sync();
    return;
  }
  throw allNamesTaken(partName);
}

function allNamesTaken(partName: string): MillraceError {
  const text = `Cannot write ${partName}: its name and ${FILE_EXPORT_NAME_TRIES_MAX} others are taken`;
  return new MillraceError("INVALID_REQUEST", text);
}

interface Names {
  /** Of the file that holds what is known of the one that grows. */
  readonly state: string;
  readonly partEnding: string;
  readonly partOf: (firstSequence: number, attempt: number) => string;
}

const PART = ".part";
const SLUG_CHARACTERS_MAX = 100;
const SEQUENCE_DIGITS = 16;

/** A stream's name is chosen by a client: what is unusual in it is left out, and a digest tells one exporter from another. */
function namesOf({ format, gzip: isCompressed }: FileSettings, context: SendContext): Names {
  const { streamId, streamName, exporterId } = context;
  const slug = streamName
    .replace(/[^A-Za-z0-9_.-]/g, "_")
    .replace(/^[.-]/, "_")
    .slice(0, SLUG_CHARACTERS_MAX);
  const digest = createHash("sha256").update(`${streamId} ${exporterId}`).digest("hex").slice(0, 8);
  const ending = `${format === "jsonLines" ? ".jsonl" : ".raw"}${isCompressed ? ".gz" : ""}`;
  return {
    state: `.${slug}-${digest}.state`,
    partEnding: `${ending}${PART}`,
    partOf: (first, attempt) => {
      const sequence = String(first).padStart(SEQUENCE_DIGITS, "0");
      return finalNameOf(`${slug}-${digest}-${sequence}${ending}${PART}`, attempt) + PART;
    },
  };
}

/** The name of a complete file, or another of the same order where that is taken. */
function finalNameOf(partName: string, attempt = 0): string {
  const name = partName.slice(0, -PART.length);
  return attempt === 0 ? name : name.replace(/(\.(?:jsonl|raw)(?:\.gz)?)$/, `-${attempt}$1`);
}

function encode(
  records: readonly ExportRecord[],
  { format }: FileSettings,
  { streamName }: SendContext,
): Buffer {
  if (format === "raw") return Buffer.concat(records.flatMap(({ data }) => [data, LINE_FEED]));
  const lines = records.map(({ sequence, ingestTimeMs, data }) => {
    const payload = Buffer.from(data.buffer, data.byteOffset, data.length).toString("base64");
    return JSON.stringify({ streamName, sequenceNumber: sequence, ingestTime: ingestTimeMs, payload });
  });
  return Buffer.from(`${lines.join("\n")}\n`);
}

const LINE_FEED = Buffer.from("\n");

const reasons: Readonly<Record<string, string>> = {
  EACCES: "no permission",
  EDQUOT: "the quota is used up",
  EIO: "the device fails",
  ENOENT: "there is no such directory",
  ENOSPC: "the disk is full",
  ENOTDIR: "it is no directory",
  EROFS: "the file system is read-only",
};

/** A directory may come back, a disk have room again: all that is temporary. Where nothing may be written a person is asked. */
function judge(thrown: unknown, directory: string): SendOutcome {
  if (thrown instanceof MillraceError) {
    return { kind: "failed", scope: "exporter", pace: "slow", timedOut: false, error: thrown.message };
  }
  const code = systemCode(thrown);
  const reason = code === undefined ? textOf(thrown) : `${reasons[code] ?? "the call failed"} (${code})`;
  const error = `Cannot write to ${directory}: ${reason}`;
  return { kind: "failed", scope: "endpoint", pace: "backoff", timedOut: false, error };
}
