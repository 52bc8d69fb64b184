/** What an exporter keeps of an upload that takes several requests: a durable file beside its cursor (log/durable-file.ts). */
import {
  makeDirectoryIfMissing,
  readDurableFile,
  removeIfThere,
  writeDurableFile,
} from "../log/durable-file.ts";
import type { Storage } from "../log/storage.ts";
import { streamSeed } from "../log/stream-seed.ts";
import { besideCursor, type CursorPlace, exporterIdsWith, exportersDirectory } from "./cursor-file.ts";

const SUFFIX = ".upload";

export function uploadPath(place: CursorPlace): string {
  return besideCursor(place, SUFFIX);
}

/**
 * @returns undefined where there is none that can be trusted: the upload begins anew
 * @throws the system's error when this process can open no more files
 */
export function readUploadFile(storage: Storage, place: CursorPlace): Buffer | undefined {
  const content = readDurableFile(storage, uploadPath(place), streamSeed(place.streamDirectory));
  return typeof content === "string" ? undefined : content;
}

/** Durable on return. @throws the system's error; then the old content or the new one is found at the next start */
export function writeUploadFile(storage: Storage, place: CursorPlace, content: Uint8Array): void {
  makeDirectoryIfMissing(storage, exportersDirectory(place.streamDirectory));
  writeDurableFile(storage, uploadPath(place), content, streamSeed(place.streamDirectory));
}

/** @throws the system's error */
export function removeUploadFile(storage: Storage, place: CursorPlace): void {
  removeIfThere(storage, uploadPath(place));
}

/** The exporters and redrives of which a stream keeps an upload. @throws the system's error */
export function storedUploadIds(storage: Storage, streamDirectory: string): string[] {
  return exporterIdsWith(storage, streamDirectory, SUFFIX);
}
