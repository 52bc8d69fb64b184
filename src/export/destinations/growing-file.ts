/** A file of messages while it grows: its names, where a batch belongs into it, and its end. */
import { createHash } from "node:crypto";
import { crc32 } from "node:zlib";
import { MillraceError } from "../../core/errors.ts";
import { FILE_EXPORT_NAME_TRIES_MAX } from "../../core/limits.ts";
import type { DestinationSettings } from "../exporter-settings.ts";
import type { ExportRecord, SendContext } from "./destination.ts";
import type { ExportDirectory } from "./export-directory.ts";
import type { PartPlace, PartState, PartStateFile } from "./part-state.ts";

export type FileSettings = DestinationSettings & { readonly kind: "file" };

/** Where it grows, and what is known of it. */
export interface PartOwner {
  readonly directory: ExportDirectory;
  readonly states: PartStateFile;
}

/**
 * Where a batch begins in the file: at its end, or, if it holds all messages of the last one, in the place of that, which would
 * not come again if it had counted as accepted. Equal numbers alone do not say so: a Memory stream numbers from 0 again after a
 * restart, and what a redrive sends may be of a stream that was deleted.
 */
export function startOf({ at, before, lastCrc }: PartState, batch: readonly ExportRecord[]): PartPlace {
  const first = batch[0]!.sequence;
  const nextSequence = batch.at(-1)!.sequence + 1;
  const isCovering =
    first === before.nextSequence &&
    before.nextSequence < at.nextSequence &&
    nextSequence >= at.nextSequence &&
    batch.length === nextSequence - first;
  if (!isCovering) return at;
  const isRepeated = lastCrc === undefined || batchCrc(batch.slice(0, at.nextSequence - first)) === lastCrc;
  return isRepeated ? before : at;
}

/** Of all by which messages differ: number, ingest time and content; however they are written, format and compression may change. */
export function batchCrc(batch: readonly ExportRecord[]): number {
  const head = new Float64Array(3);
  const headBytes = new Uint8Array(head.buffer);
  let crc = 0;
  for (const { sequence, ingestTimeMs, data } of batch) {
    head.set([sequence, ingestTimeMs, data.length]);
    crc = crc32(data, crc32(headBytes, crc));
  }
  return crc;
}

/** Completes the file, as far as it counts; one that holds nothing that does is removed. @throws as its calls do */
export async function endPart(owner: PartOwner, known: PartState): Promise<void> {
  const { directory } = owner;
  if (known.finalName === undefined) {
    const file = await directory.openFile(known.partName);
    if (file === undefined) return;
    try {
      const { size } = await file.stat();
      if (size > known.at.bytes) await file.truncate(known.at.bytes);
      await file.datasync();
    } finally {
      await file.close();
    }
    if (known.at.bytes === 0) {
      await directory.remove(known.partName);
      await directory.sync();
      return;
    }
  }
  await completePart(owner, known);
}

/** Gives a file that is on the medium its name, or has it keep that alone which it got before a kill. @throws as its calls do */
export async function completePart({ directory, states }: PartOwner, state: PartState): Promise<void> {
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

export function allNamesTaken(partName: string): MillraceError {
  const text = `Cannot write ${partName}: its name and ${FILE_EXPORT_NAME_TRIES_MAX} others are taken`;
  return new MillraceError("INVALID_REQUEST", text);
}

export interface PartNames {
  /** Of the file that holds what is known of the one that grows. */
  readonly state: string;
  readonly partOf: (firstSequence: number, attempt: number) => string;
}

const PART = ".part";
const SLUG_CHARACTERS_MAX = 100;
const SEQUENCE_DIGITS = 16;

/** A stream's name is chosen by a client: what is unusual in it is left out, and a digest tells one exporter from another. */
export function namesOf(settings: FileSettings, context: SendContext): PartNames {
  const { streamId, streamName, exporterId } = context;
  const slug = streamName
    .replace(/[^A-Za-z0-9_.-]/g, "_")
    .replace(/^[.-]/, "_")
    .slice(0, SLUG_CHARACTERS_MAX);
  const digest = createHash("sha256").update(`${streamId} ${exporterId}`).digest("hex").slice(0, 8);
  return {
    state: `.${slug}-${digest}.state`,
    partOf: (first, attempt) => {
      const sequence = String(first).padStart(SEQUENCE_DIGITS, "0");
      return finalNameOf(`${slug}-${digest}-${sequence}${partEndingOf(settings)}`, attempt) + PART;
    },
  };
}

/** Files of other settings do not end so. */
export function partEndingOf({ format, gzip }: FileSettings): string {
  return `${format === "jsonLines" ? ".jsonl" : ".raw"}${gzip ? ".gz" : ""}${PART}`;
}

/** The name of a complete file, or another of the same order where that is taken. */
export function finalNameOf(partName: string, attempt = 0): string {
  const name = partName.slice(0, -PART.length);
  return attempt === 0 ? name : name.replace(/(\.(?:jsonl|raw)(?:\.gz)?)$/, `-${attempt}$1`);
}
