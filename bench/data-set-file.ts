import { readFileSync, statSync } from "node:fs";
import path from "node:path";
import type { DataSet } from "./data-set.ts";

/** It is held in memory, and read whole. */
const DATA_FILE_BYTES_MAX = 256 * 1024 * 1024;
const LINE_FEED = 0x0a;

/** Each line of a file is a message, from the beginning again when there are fewer than `count`. @throws Error for none */
export function createFileDataSet(filePath: string, count: number): DataSet {
  const action = `Cannot use the data set "${filePath}"`;
  const lines = linesOf(readDataFile(filePath, action));
  if (lines.length === 0) throw new Error(`${action}: it has no line that is not empty`);
  const messages = Array.from({ length: count }, (_, index) => lines[index % lines.length]!);
  const payloadBytes = messages.reduce((sum, { length }) => sum + length, 0);
  return { name: path.basename(filePath), messages, payloadBytes };
}

function readDataFile(filePath: string, action: string): Buffer {
  try {
    const { size } = statSync(filePath);
    if (size > DATA_FILE_BYTES_MAX) throw new Error(`${size} bytes, at most ${DATA_FILE_BYTES_MAX}`);
    return readFileSync(filePath);
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new Error(`${action}: ${reason}`, { cause });
  }
}

function linesOf(data: Buffer): Buffer[] {
  const lines: Buffer[] = [];
  for (let start = 0; start < data.length;) {
    const found = data.indexOf(LINE_FEED, start);
    const end = found < 0 ? data.length : found;
    if (end > start) lines.push(data.subarray(start, end));
    start = end + 1;
  }
  return lines;
}
