import path from "node:path";

import { SCAN_READ_BYTES } from "../core/limits.ts";
import { SEGMENT_HEADER_BYTES } from "./segment-layout.ts";
import { readFully, scanSegment, SegmentSource } from "./segment-scanner.ts";
import { type SegmentWriter, throwIfFailed, writeFully } from "./segment-writer.ts";
import type { Storage } from "./storage.ts";

/**
 * Makes blocks that nothing proves to be durable so where they stand, if there is no room for a new segment: the same bytes are
 * written again in their place, which takes no room and makes a sync answer for them once more. Some may be durable already, for
 * nothing says so of what the last sync before a kill covered: a medium that loses a unit which it writes over with the same bytes
 * in the moment of a power cut would take those. Without room there is no safer place.
 * @returns false where there is room, or when they are not what recovery read any more: the kernel had dropped them
 * @throws the system's error
 */
export function isRenewed(segment: SegmentWriter, storage: Storage): boolean {
  const { file, header, syncedPosition: from, position: to } = segment;
  const newBytes = to - from + 2 * SEGMENT_HEADER_BYTES;
  if (storage.freeBytes(path.dirname(segment.path)) >= newBytes) return false;
  const area = Buffer.alloc(Math.min(SCAN_READ_BYTES, to - from));
  for (let at = from; at < to; at += area.length) {
    const part = area.subarray(0, Math.min(area.length, to - at));
    if (readFully(file, part, at) < part.length) return false;
    throwIfFailed(writeFully(file, [part], at));
  }
  if (scanSegment(new SegmentSource(file, header.segmentId), from, to).damage.length > 0) return false;
  file.syncNow();
  return true;
}
