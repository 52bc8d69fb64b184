import { crc32 } from "node:zlib";

import { ClockWatch } from "../../src/core/clock-watch.ts";
import {
  BLOCK_FIXED_BYTES,
  BLOCK_MAGIC_BYTES,
  blockEndPayloadOffset,
  blockEndSequence,
  BlockKind,
  encodeBlockHeader,
} from "../../src/log/block-layout.ts";
import { blockSeed, decodeSegmentHeader, SEGMENT_HEADER_BYTES } from "../../src/log/segment-layout.ts";
import { scanSegment, SegmentSource } from "../../src/log/segment-scanner.ts";
import type { WatchedClocks } from "../../src/log/stream-clock.ts";
import type { Storage, StorageFile } from "../../src/log/storage.ts";
import type { ManualClock } from "../support/deterministic.ts";
import { type FileOverrides, patchStorage } from "../support/patch-storage.ts";
import type { SimStorage } from "../support/sim-storage.ts";
import { type Seams, soundSeams } from "./workload.ts";

/** Takes the wall clock for the time that passed. */
function rawClock(clock: ManualClock): WatchedClocks {
  const startMs = clock.nowMs();
  return {
    sample: nothing,
    get wallMs() {
      return clock.nowMs();
    },
    get elapsedMs() {
      return Math.max(0, clock.nowMs() - startMs);
    },
    steadyMs: Infinity,
  };
}

/** Mistakes that storage engines have made, each planted at a seam of the sound one. The explorer must find them all. */
export interface PlantedBug {
  readonly name: string;
  readonly seams: Seams;
  /** The scenario that is rich enough to show it. */
  readonly scenario:
    | "flush"
    | "no flush"
    | "failed sync"
    | "short write"
    | "kernel error"
    | "time to live"
    | "overwrite"
    | "rewrite";
}

/** The storage with some calls of its files, or of itself, replaced. */
export function patched(
  files: FileOverrides,
  own: (storage: SimStorage) => Partial<Storage> = () => ({}),
): Seams {
  return { ...soundSeams, wrap: (storage) => patchStorage(storage, files, own(storage)) };
}

const nothing = (): void => undefined;
const KIND_OFFSET = 44;
const CRC_OFFSET = 12;
const STORED_CRC_OFFSET = 24;
const STORED_BYTES_OFFSET = 16;

/** Skips the sync that follows a write of which `isMeant` says so. */
function withoutSyncAfter(isMeant: (buffers: readonly Uint8Array[], position: number) => boolean): Seams {
  return patched((file) => {
    let isSkipped = false;
    return {
      write: (buffers, position) => {
        isSkipped = isMeant(buffers, position);
        return file.write(buffers, position);
      },
      syncNow: () => {
        if (!isSkipped) file.syncNow();
      },
    };
  });
}

function isSeal(buffers: readonly Uint8Array[]): boolean {
  const head = buffers[0]!;
  return head.length > BLOCK_FIXED_BYTES && head[KIND_OFFSET] === BlockKind.Seal;
}

/** What a reader sees that checks nothing: every block's checksums are made to fit what the medium gave. */
function blindRead(file: StorageFile): Partial<StorageFile> {
  return {
    read: (target, position) => {
      const whole = Buffer.alloc(file.sizeBytes());
      file.read(whole, 0);
      const header = decodeSegmentHeader(whole.subarray(0, SEGMENT_HEADER_BYTES));
      if (header !== undefined) makeChecksumsFit(whole, header.segmentId);
      const part = whole.subarray(position, position + target.length);
      target.set(part);
      return part.length;
    },
  };
}

function makeChecksumsFit(segment: Buffer, segmentId: Buffer): void {
  let magic = segment.indexOf(BLOCK_MAGIC_BYTES, SEGMENT_HEADER_BYTES);
  for (; magic >= 0; magic = segment.indexOf(BLOCK_MAGIC_BYTES, magic + 1)) {
    const position = magic - 8;
    if (position + BLOCK_FIXED_BYTES > segment.length) return;
    const headerBytes = segment.readUInt32LE(position + 4) + 8;
    const head = segment.subarray(position, position + headerBytes);
    if (head.length < headerBytes || headerBytes < BLOCK_FIXED_BYTES) continue;
    const bodyAt = position + headerBytes;
    const body = segment.subarray(bodyAt, bodyAt + head.readUInt32LE(STORED_BYTES_OFFSET));
    head.writeUInt32LE(crc32(body), STORED_CRC_OFFSET);
    const seeded = crc32(head.subarray(0, CRC_OFFSET), blockSeed(segmentId, position));
    head.writeUInt32LE(crc32(head.subarray(STORED_BYTES_OFFSET), seeded), CRC_OFFSET);
  }
}

/** Lets every wall clock pass for one that has been steady for long. */
function believed(watch: WatchedClocks): WatchedClocks {
  return {
    sample: () => watch.sample(),
    get wallMs() {
      return watch.wallMs;
    },
    get elapsedMs() {
      return watch.elapsedMs;
    },
    steadyMs: Infinity,
  };
}

/** A start syncs the newest segment, and then a mark in it says that all of it was durable. */
function trustsItsSync(storage: SimStorage): Storage {
  const open: Storage["open"] = (filePath, mode) => {
    const file = storage.open(filePath, mode);
    const head = Buffer.alloc(SEGMENT_HEADER_BYTES);
    if (mode === "append") file.read(head, 0);
    const header = decodeSegmentHeader(head);
    if (header !== undefined) vouchFor(file, header.segmentId);
    return file;
  };
  return patchStorage(storage, () => ({}), { open });
}

function vouchFor(file: StorageFile, segmentId: Buffer): void {
  const sizeBytes = file.sizeBytes();
  const scan = scanSegment(new SegmentSource(file, segmentId), SEGMENT_HEADER_BYTES, sizeBytes);
  const last = scan.blocks.at(-1)?.header;
  if (last === undefined || scan.damage.length > 0 || last.kind !== BlockKind.Data) return;
  file.syncNow();
  const mark = {
    ...last,
    ...{
      kind: BlockKind.Watermark,
      storedBytes: 0,
      rawBytes: 0,
      storedCrc: 0,
      rawCrc: 0,
      runs: [],
      messageCount: 0,
    },
    firstSequence: blockEndSequence(last),
    payloadOffset: blockEndPayloadOffset(last),
    firstIngestMs: last.lastIngestMs,
    syncedPosition: sizeBytes,
  };
  file.write([encodeBlockHeader(mark, segmentId, sizeBytes)], sizeBytes);
}

export const plantedBugs: readonly PlantedBug[] = [
  {
    name: "time to live goes by the raw wall clock",
    scenario: "time to live",
    seams: { ...soundSeams, watch: rawClock },
  },
  {
    name: "any wall clock is believed at once",
    scenario: "time to live",
    seams: { ...soundSeams, watch: (clock) => believed(new ClockWatch(clock)) },
  },
  {
    name: "an append is acknowledged before its sync",
    scenario: "flush",
    seams: patched((file, storage) => ({
      sync: (done) => {
        storage.defer(() => {
          done(undefined);
          file.sync(nothing);
        });
      },
    })),
  },
  {
    name: "directories are not synced",
    scenario: "flush",
    seams: patched(
      () => ({}),
      () => ({ syncDirectory: nothing }),
    ),
  },
  {
    name: "checksums are not checked",
    scenario: "flush",
    seams: patched((file) => blindRead(file)),
  },
  {
    name: "a failed sync is tried again on the same file",
    scenario: "failed sync",
    seams: patched((file) => ({
      sync: (done) => {
        file.sync((error) => {
          if (error === undefined) done(undefined);
          else file.sync(done);
        });
      },
      syncNow: () => {
        try {
          file.syncNow();
        } catch {
          file.syncNow();
        }
      },
    })),
  },
  {
    name: "a second sync is trusted, after a restart",
    scenario: "failed sync",
    seams: { ...soundSeams, wrap: trustsItsSync },
  },
  {
    name: "a failed sync is taken for a good one",
    scenario: "failed sync",
    seams: patched((file) => ({
      sync: (done) => {
        file.sync(() => done(undefined));
      },
    })),
  },
  {
    name: "a short write is not noticed",
    scenario: "short write",
    seams: patched((file) => ({
      write: (buffers, position) => {
        file.write(buffers, position);
        return buffers.reduce((sum, buffer) => sum + buffer.length, 0);
      },
    })),
  },
  {
    name: "a torn tail is not cut",
    scenario: "flush",
    seams: patched(() => ({ truncate: nothing })),
  },
  {
    name: "a segment is complete before it is synced",
    scenario: "no flush",
    seams: withoutSyncAfter((buffers) => isSeal(buffers)),
  },
  {
    name: "a replacement counts before its head is synced",
    scenario: "failed sync",
    seams: withoutSyncAfter((_, position) => position === 0),
  },
  {
    name: "segments are unlinked before the account of it is durable",
    scenario: "overwrite",
    seams: patched((file, storage) =>
      file.path.includes("/ledger")
        ? { syncNow: nothing, sync: (done) => storage.defer(() => done(undefined)) }
        : {},
    ),
  },
  {
    name: "exporters read up to the written end",
    scenario: "no flush",
    seams: { ...soundSeams, exporterBound: (log) => log.nextSequence },
  },
  {
    name: "what the last process wrote is not synced at the start",
    scenario: "kernel error",
    seams: patched((file) => ({
      syncNow: () => {
        if (file.sizeBytes() <= SEGMENT_HEADER_BYTES) file.syncNow();
      },
    })),
  },
];
