import { systemCode } from "../core/errors.ts";
import { isFull } from "../log/append-refusals.ts";
import { overwriteDurableFile, readDurableFile, writeDurableFile } from "../log/durable-file.ts";
import type { Storage } from "../log/storage.ts";

/**
 * `<store>/epoch`, little-endian, in a checked file: u32 how often the store was started, u32 flags; bit 0: the last of these
 * ended cleanly.
 */
const EPOCH_BYTES = 8;
const FLAG_CLEAN = 1;
const EPOCH_AFTER_DAMAGE = 2 ** 31;

export interface StoreStart {
  /** Counts the starts of this store; written into every block. */
  readonly epoch: number;
  /** Whether everything was synced before the last end: else a power cut may have taken messages with it. */
  readonly endedCleanly: boolean;
}

/** Counts a start, durably. */
export function countStart(storage: Storage, storeDirectory: string): StoreStart {
  const stored = readEpoch(storage, storeDirectory);
  // A store counts its first start before it has a stream: without the file, one that has streams has lost it.
  const isLost = stored === "missing" && hasStreams(storage, storeDirectory);
  const start = nextStart(isLost ? "damaged" : stored);
  write(storage, storeDirectory, { epoch: start.epoch, flags: 0 });
  return start;
}

/** The newest start that was counted, and how it ended. */
export function readEpoch(storage: Storage, storeDirectory: string): StoreStart | "missing" | "damaged" {
  const stored = readDurableFile(storage, epochPath(storeDirectory));
  if (typeof stored === "string") return stored;
  if (stored.length !== EPOCH_BYTES) return "damaged";
  return { epoch: stored.readUInt32LE(0), endedCleanly: (stored.readUInt32LE(4) & FLAG_CLEAN) !== 0 };
}

function nextStart(stored: ReturnType<typeof readEpoch>): StoreStart {
  if (stored === "missing") return { epoch: 1, endedCleanly: true };
  // A damaged or lost count starts again far ahead of any real one, so that epochs still never repeat.
  if (stored === "damaged") return { epoch: EPOCH_AFTER_DAMAGE, endedCleanly: false };
  return { ...stored, epoch: stored.epoch + 1 };
}

function hasStreams(storage: Storage, storeDirectory: string): boolean {
  try {
    return storage.list(`${storeDirectory}/streams`).some(({ kind }) => kind === "directory");
  } catch (error) {
    if (systemCode(error) === "ENOENT") return false;
    throw error;
  }
}

/** Every stream of this start was closed, and all of it is durable. @throws the system's error */
export function noteCleanEnd(storage: Storage, storeDirectory: string, epoch: number): void {
  write(storage, storeDirectory, { epoch, flags: FLAG_CLEAN });
}

function write(storage: Storage, storeDirectory: string, content: { epoch: number; flags: number }): void {
  const bytes = Buffer.alloc(EPOCH_BYTES);
  bytes.writeUInt32LE(content.epoch, 0);
  bytes.writeUInt32LE(content.flags, 4);
  try {
    writeDurableFile(storage, epochPath(storeDirectory), bytes);
  } catch (error) {
    // A full disk without its ballast must not keep an engine from starting: reads, exports and deletions need no room.
    if (!isFull(error)) throw error;
    overwriteDurableFile(storage, epochPath(storeDirectory), bytes);
  }
}

function epochPath(storeDirectory: string): string {
  return `${storeDirectory}/epoch`;
}
