import path from "node:path";
import { parseSegmentName } from "../log/segment-layout.ts";
import type { SharedFile } from "../log/shared-memory-storage.ts";

/** Segments that a batch of a `Memory` stream may span; one that would need more is shorter. */
const SEGMENTS_PER_BATCH_MAX = 3;

/** The segments that hold `sequence` and what follows: a task must not carry a whole stream. */
export function segmentsFrom(files: readonly SharedFile[], sequence: number): SharedFile[] {
  const segments = files
    .map((file) => ({ file, base: parseSegmentName(path.basename(file.path))?.baseSequence ?? -1 }))
    .filter(({ base }) => base >= 0)
    .sort((one, other) => one.base - other.base);
  const first = Math.max(
    0,
    segments.findLastIndex(({ base }) => base <= sequence),
  );
  return segments.slice(first, first + SEGMENTS_PER_BATCH_MAX).map(({ file }) => file);
}
