/** What an exporter keeps of an upload that takes several requests: a durable file beside its cursor (log/durable-file.ts). */
import path from "node:path";
import { systemCode } from "../core/errors.ts";
import {
  makeDirectoryIfMissing,
  readDurableFile,
  removeIfThere,
  writeDurableFile,
} from "../log/durable-file.ts";
import type { Storage } from "../log/storage.ts";
import { streamSeed } from "../log/stream-seed.ts";
import { type CursorPlace, cursorPath } from "./cursor-file.ts";

const SUFFIX = ".upload";
const NAME = /^([0-9a-f]{32}(?:-redrive)?)\.upload$/;

export function uploadPath(place: CursorPlace): string {
  const cursor = cursorPath(place);
  return path.join(path.dirname(cursor), `${place.exporterId}${SUFFIX}`);
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
  const filePath = uploadPath(place);
  makeDirectoryIfMissing(storage, path.dirname(filePath));
  writeDurableFile(storage, filePath, content, streamSeed(place.streamDirectory));
}

/** @throws the system's error */
export function removeUploadFile(storage: Storage, place: CursorPlace): void {
  removeIfThere(storage, uploadPath(place));
}

/** The exporters and redrives of which a stream keeps an upload. @throws the system's error */
export function storedUploadIds(storage: Storage, streamDirectory: string): string[] {
  const directory = path.dirname(uploadPath({ streamDirectory, exporterId: "" }));
  try {
    return storage.list(directory).flatMap(({ name }) => NAME.exec(name)?.[1] ?? []);
  } catch (error) {
    if (systemCode(error) === "ENOENT") return [];
    throw error;
  }
}
