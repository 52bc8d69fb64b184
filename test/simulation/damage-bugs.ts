import path from "node:path";

import { LedgerFile } from "../../src/log/ledger-file.ts";
import { decodeSegmentHeader, parseSegmentName, SEGMENT_HEADER_BYTES } from "../../src/log/segment-layout.ts";
import { scanSegment, SegmentSource } from "../../src/log/segment-scanner.ts";
import type { Storage } from "../../src/log/storage.ts";
import { patchStorage } from "../support/patch-storage.ts";
import type { SimStorage } from "../support/sim-storage.ts";

/** Mistakes with what cannot be read, each planted at a start. The model must find them all. */
export interface DamageBug {
  readonly name: string;
  readonly wrap?: (storage: SimStorage) => Storage;
  /** Plants it in a method of the sound code. @returns what takes it out again */
  readonly plant?: () => () => void;
}

function headOf(storage: SimStorage, filePath: string): ReturnType<typeof decodeSegmentHeader> {
  const file = storage.open(filePath, "read");
  const area = Buffer.alloc(SEGMENT_HEADER_BYTES);
  file.read(area, 0);
  file.close();
  return decodeSegmentHeader(area);
}

export const damageBugs: readonly DamageBug[] = [
  {
    name: "what is counted as damaged is counted again at the next start",
    plant: () => {
      // eslint-disable-next-line @typescript-eslint/unbound-method -- called with its own this
      const original = LedgerFile.prototype.read;
      LedgerFile.prototype.read = function (this: LedgerFile) {
        const found = original.call(this);
        if (typeof found !== "object") return found;
        return { ...found, snapshot: { ...found.snapshot, damage: [] } };
      };
      return () => {
        LedgerFile.prototype.read = original;
      };
    },
  },
  {
    name: "a segment is deleted because its header cannot be read",
    wrap: (storage) =>
      patchStorage(storage, () => ({}), {
        list: (directory) => {
          for (const { name } of storage.list(directory)) {
            const filePath = path.join(directory, name);
            const isUnreadable =
              parseSegmentName(name) !== undefined && headOf(storage, filePath) === undefined;
            if (isUnreadable) storage.unlink(filePath);
          }
          return storage.list(directory);
        },
      }),
  },
  {
    name: "the newest segment is cut where it is damaged in its middle",
    wrap: (storage) =>
      patchStorage(storage, () => ({}), {
        open: (filePath, mode) => {
          const file = storage.open(filePath, mode);
          const name = parseSegmentName(path.basename(filePath));
          const header = mode === "append" && name !== undefined ? headOf(storage, filePath) : undefined;
          if (header === undefined) return file;
          const source = new SegmentSource(file, header.segmentId);
          const { damage } = scanSegment(source, SEGMENT_HEADER_BYTES, file.sizeBytes());
          if (damage[0] !== undefined) file.truncate(damage[0]);
          return file;
        },
      }),
  },
];
