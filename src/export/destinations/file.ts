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
import type { Storage } from "../../log/storage.ts";
import type { CursorPlace } from "../cursor-file.ts";
import type { DestinationSettings } from "../exporter-settings.ts";
import { addPartNote, type PartNote, readPartNotes, removePartNotes } from "../part-notes.ts";
import type { DestinationEnvironment } from "../worker-settings.ts";
import type {
  Destination,
  DestinationLimits,
  ExportRecord,
  SendContext,
  SendFailure,
  SendOutcome,
  TendOutcome,
} from "./destination.ts";
import { ExportDirectory, keptOpen } from "./export-directory.ts";
import {
  allNamesTaken,
  batchCrc,
  completePart,
  endPart,
  type FileSettings,
  finalNameOf,
  namesOf,
  partEndingOf,
  type PartNames,
  type PartOwner,
  startOf,
} from "./growing-file.ts";
import { type PartPlace, type PartState, PartStateFile, writeAll } from "./part-state.ts";

const compress = promisify(gzip);

const limits: DestinationLimits = {
  recordsMax: FILE_EXPORT_BATCH_RECORDS_MAX,
  requestBytesMax: FILE_EXPORT_BATCH_BYTES_MAX,
  recordBytesMax: MESSAGE_BYTES_MAX_DEFAULT + FILE_EXPORT_RECORD_OVERHEAD_BYTES,
  recordOverheadBytes: FILE_EXPORT_RECORD_OVERHEAD_BYTES,
};

export interface FileOptions {
  readonly environment: Pick<DestinationEnvironment, "fileDirectories">;
  /** Of the store: what files grow, and where, is noted there. */
  readonly storage: Storage;
  readonly clock?: Clock;
}

/**
 * Files of messages. A file is called `.part` while it grows and gets its name when it is complete, so that whoever takes files
 * takes whole ones; names sort by the first sequence number. A batch is on the medium when it counts as accepted. What a kill left
 * of a batch that was not is cut off with the next one, also where the batch is all there but the position was not written: then
 * the same messages come again and take its place. One that grows is noted in the store before it is there, so that it is
 * completed though no batch comes.
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
    try {
      const names = namesOf(settings, context);
      const open = (directory: ExportDirectory) => PartStateFile.open(directory, names.state);
      const tendInMs = await this.#within(settings.directory, open, (owner) =>
        this.#append({ ...owner, settings, names, context }, records),
      );
      const tended = tendInMs === undefined ? {} : { tendInMs };
      return { kind: "answered", failed: [], error: "", requestBytes: 0, ...tended };
    } catch (error) {
      return { ...judge(error, settings.directory), requestBytes: 0 };
    }
  }

  async tend(
    settings: DestinationSettings | undefined,
    place: CursorPlace,
    { isLast }: { readonly isLast: boolean },
  ): Promise<TendOutcome> {
    const { storage } = this.#options;
    const notes = readPartNotes(storage, place);
    const ended: PartNote[] = [];
    let dueInMs: number | undefined;
    let error = "";
    for (const note of notes) {
      const isCurrent = !isLast && settings?.kind === "file" && settings.directory === note.directory;
      try {
        if (isCurrent) dueInMs = await this.#tendOne(note, settings);
        else await this.#endOne(note);
        if (!isCurrent) ended.push(note);
      } catch (thrown) {
        error = judge(thrown, note.directory).error;
      }
    }
    if (ended.length > 0) removePartNotes(storage, place, ended);
    return { error, ...(dueInMs === undefined ? {} : { dueInMs }) };
  }

  close(): void {
    // Nothing stays open between two batches.
  }

  /** Completes the file if it is time. @returns when it will be, if time alone makes it so */
  #tendOne({ directory, state }: PartNote, settings: FileSettings): Promise<number | undefined> {
    const open = (opened: ExportDirectory) => PartStateFile.openIfThere(opened, state);
    return this.#within(directory, open, async (owner) => {
      const known = owner.states.state;
      if (known === undefined) return undefined;
      const isSame = known.partName.endsWith(partEndingOf(settings));
      if (known.finalName !== undefined || !isSame || this.#isComplete(known, settings)) {
        await endPart(owner, known);
        return undefined;
      }
      const nowMs = wallMs(this.#clock);
      const begunMs = Math.min(known.begunMs, nowMs);
      // By a wall clock that was set back it would not grow old.
      if (begunMs < known.begunMs) await owner.states.write({ ...known, begunMs });
      return this.#dueInMs({ ...known, begunMs }, settings);
    });
  }

  /** Completes the file, and leaves nothing of what was known of it: nobody will go on with it. */
  #endOne({ directory, state }: PartNote): Promise<void> {
    const open = (opened: ExportDirectory) => PartStateFile.openIfThere(opened, state);
    return this.#within(directory, open, async (owner) => {
      const known = owner.states.state;
      if (known !== undefined) await endPart(owner, known);
      await owner.directory.remove(state);
      await owner.directory.sync();
    });
  }

  /** @returns what `work` does; undefined where `open` finds nothing @throws what they throw */
  async #within<Result>(
    name: string,
    open: (directory: ExportDirectory) => Promise<PartStateFile | undefined>,
    work: (owner: PartOwner) => Promise<Result>,
  ): Promise<Result | undefined> {
    let directory: ExportDirectory | undefined;
    let states: PartStateFile | undefined;
    try {
      directory = await ExportDirectory.open(name, this.#options.environment.fileDirectories);
      states = await open(directory);
      return states === undefined ? undefined : await work({ directory, states });
    } finally {
      // What was written is synced: to close it has nothing more to say.
      await states?.close().catch(() => undefined);
      await directory?.close().catch(() => undefined);
    }
  }

  /** @returns when the file is to be completed, if time alone makes it so */
  async #append(place: Place, records: readonly ExportRecord[]): Promise<number | undefined> {
    const { states, settings, context } = place;
    const first = records[0]!.sequence;
    const text = encode(records, settings, context);
    const bytes = settings.gzip ? await compress(text) : text;
    const { file, state } = await this.#open(place, records);
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
      nextSequence: records.at(-1)!.sequence + 1,
    };
    const written = {
      ...state,
      begunMs: Math.min(state.begunMs, wallMs(this.#clock)),
      at,
      before: { ...state.at, nextSequence: first },
      lastCrc: batchCrc(records),
    };
    await states.write(written);
    if (!this.#isComplete(written, settings)) return this.#dueInMs(written, settings);
    await completePart(place, written);
    return undefined;
  }

  /** The file that the batch belongs into, cut to where the batch begins. */
  async #open(place: Place, batch: readonly ExportRecord[]): Promise<OpenPart> {
    const { directory, states } = place;
    const known = states.state;
    if (known === undefined) return this.#begin(place, batch[0]!.sequence);
    const file = known.finalName === undefined ? await directory.openFile(known.partName) : undefined;
    if (file !== undefined) {
      const state = await keptOpen(file, () => this.#makeRoom(file, { known, place, batch }));
      if (state !== undefined) return { file, state };
      await file.close();
    }
    await endPart(place, known);
    return this.#begin(place, batch[0]!.sequence);
  }

  /** Cuts the file to where the batch begins. @returns what is known of it then; undefined where the batch begins another */
  async #makeRoom(
    file: FileHandle,
    { known, place, batch }: { known: PartState; place: Place; batch: readonly ExportRecord[] },
  ): Promise<PartState | undefined> {
    const { states, settings } = place;
    const { size } = await file.stat();
    const isFitting = size >= known.at.bytes && known.partName.endsWith(partEndingOf(settings));
    if (!isFitting || this.#isComplete(known, settings)) return undefined;
    const at = startOf(known, batch);
    const state = at === known.at ? known : { ...known, at, before: at };
    // First of all: should the one that takes its place be torn, the batch that stood there must not count any more.
    if (state !== known) await states.write(state);
    if (size > at.bytes) await file.truncate(at.bytes);
    return state;
  }

  async #begin({ directory, states, names, settings, context }: Place, first: number): Promise<OpenPart> {
    const start: PartPlace = { bytes: 0, rawBytes: 0, nextSequence: first };
    addPartNote(this.#options.storage, context, { directory: settings.directory, state: names.state });
    for (let attempt = 0; attempt < FILE_EXPORT_NAME_TRIES_MAX; attempt += 1) {
      const partName = names.partOf(first, attempt);
      if ((await directory.has(finalNameOf(partName))) || (await directory.has(partName))) continue;
      // Known before it is there, so that no file is left of which nobody knows.
      const state = { partName, begunMs: wallMs(this.#clock), at: start, before: start };
      await states.write(state);
      const file = await directory.create(partName);
      await keptOpen(file, () => directory.sync());
      return { file, state };
    }
    throw allNamesTaken(names.partOf(first, 0));
  }

  #isComplete({ at, begunMs }: PartState, { rotateBytes, rotateMs }: FileSettings): boolean {
    const isOld = rotateMs !== undefined && this.#clock.nowMs() - begunMs >= rotateMs;
    return at.bytes > 0 && (at.rawBytes >= rotateBytes || isOld);
  }

  #dueInMs({ at, begunMs }: PartState, { rotateMs }: FileSettings): number | undefined {
    if (rotateMs === undefined || at.bytes === 0) return undefined;
    return Math.min(rotateMs, Math.max(0, begunMs + rotateMs - wallMs(this.#clock)));
  }
}

interface Place extends PartOwner {
  readonly settings: FileSettings;
  readonly names: PartNames;
  readonly context: SendContext;
}

interface OpenPart {
  readonly file: FileHandle;
  readonly state: PartState;
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
function judge(thrown: unknown, directory: string): SendFailure {
  if (thrown instanceof MillraceError) {
    return { kind: "failed", scope: "exporter", pace: "slow", timedOut: false, error: thrown.message };
  }
  const code = systemCode(thrown);
  const reason = code === undefined ? textOf(thrown) : `${reasons[code] ?? "the call failed"} (${code})`;
  const error = `Cannot write to ${directory}: ${reason}`;
  return { kind: "failed", scope: "endpoint", pace: "backoff", timedOut: false, error };
}
