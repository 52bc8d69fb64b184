import path from "node:path";

import { parseSegmentName, type SegmentHeader } from "./segment-layout.ts";
import { isExhausted } from "./read-refusals.ts";
import { readSegmentHeader } from "./segment-scanner.ts";
import type { Storage, StorageFile } from "./storage.ts";

/**
 * Ids that other segments in the directory of `filePath` state for the segment of its base sequence: a successor names the one
 * before it. For a segment whose own header is damaged; empty when the directory cannot be read.
 */
export function neighbourIds(storage: Storage, filePath: string): Buffer[] {
  const own = parseSegmentName(path.basename(filePath));
  if (own === undefined) return [];
  const directory = path.dirname(filePath);
  return listNames(storage, directory).flatMap((name) => {
    const base = parseSegmentName(name)?.baseSequence;
    if (base === undefined || base <= own.baseSequence) return [];
    const predecessor = readHeader(storage, path.join(directory, name))?.predecessor;
    return predecessor?.baseSequence === own.baseSequence ? [predecessor.segmentId] : [];
  });
}

function listNames(storage: Storage, directory: string): string[] {
  try {
    return storage.list(directory).map(({ name }) => name);
  } catch (error) {
    if (isExhausted(error)) throw error;
    return [];
  }
}

function readHeader(storage: Storage, filePath: string): SegmentHeader | undefined {
  let file: StorageFile;
  try {
    file = storage.open(filePath, "read");
  } catch (error) {
    if (isExhausted(error)) throw error;
    // Without this neighbour the file has to speak for itself.
    return undefined;
  }
  try {
    return readSegmentHeader(file);
  } finally {
    file.close();
  }
}
