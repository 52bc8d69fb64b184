import type {
  Destination,
  DestinationLimits,
  SendOutcome,
} from "../../src/export/destinations/destination.ts";
import type { Storage, StorageFile } from "../../src/log/storage.ts";
import { patchStorage } from "../support/patch-storage.ts";
import type { SimStorage } from "../support/sim-storage.ts";
import { type ExportSeams, soundExportSeams } from "./export-simulation.ts";

/** Mistakes that exporters have made, each planted at a seam of the sound one. The explorer must find them all. */
export interface PlantedExportBug {
  readonly name: string;
  readonly seams: ExportSeams;
  readonly needsFailedSync: boolean;
}

const nothing = (): void => undefined;

/** The storage with some calls of cursor files, or of itself, replaced. */
function patched(
  files: (file: StorageFile, storage: SimStorage) => Partial<StorageFile>,
  own: Partial<Storage> = {},
): ExportSeams {
  return {
    ...soundExportSeams,
    wrapStorage: (storage) =>
      patchStorage(storage, (file) => (file.path.includes(".cursor") ? files(file, storage) : {}), own),
  };
}

/** Says that records were accepted, and hands them on with the next request. */
class HastyDestination implements Destination {
  readonly #real: Destination;
  #held: (() => Promise<SendOutcome>) | undefined;

  constructor(real: Destination) {
    this.#real = real;
  }

  limitsFor(...settings: Parameters<Destination["limitsFor"]>): DestinationLimits {
    return this.#real.limitsFor(...settings);
  }

  async send(...request: Parameters<Destination["send"]>): Promise<SendOutcome> {
    await this.#held?.();
    this.#held = () => this.#real.send(...request);
    return { kind: "answered", failed: [], error: "" };
  }

  close(): void {
    this.#real.close();
  }
}

/** Takes a failure, or a part of one, for an acceptance. */
function trusting(real: Destination): Destination {
  return {
    limitsFor: (settings) => real.limitsFor(settings),
    send: async (...request) => {
      const outcome = await real.send(...request);
      return outcome.kind === "answered" ? { ...outcome, failed: [] } : outcome;
    },
    close: () => real.close(),
  };
}

export const plantedExportBugs: readonly PlantedExportBug[] = [
  {
    name: "the cursor is written before the destination has the messages",
    seams: { ...soundExportSeams, wrapDestination: (real) => new HastyDestination(real) },
    needsFailedSync: false,
  },
  {
    name: "records that failed count as accepted",
    seams: { ...soundExportSeams, wrapDestination: trusting },
    needsFailedSync: false,
  },
  {
    name: "a cursor is synced before it is written",
    seams: patched((file) => {
      const late: (() => void)[] = [];
      const writeLate = (): void => {
        for (const write of late.splice(0)) write();
      };
      return {
        write: (buffers, position) => {
          const copies = buffers.map((buffer) => Buffer.from(buffer));
          late.push(() => file.write(copies, position));
          return copies.reduce((sum, { length }) => sum + length, 0);
        },
        syncNow: () => {
          file.syncNow();
          writeLate();
        },
        sync: (done) => {
          file.sync((error) => {
            writeLate();
            done(error);
          });
        },
        close: () => {
          writeLate();
          file.close();
        },
      };
    }),
    needsFailedSync: false,
  },
  {
    name: "a cursor has one slot",
    seams: patched((file) => ({
      write: (buffers, position) => file.write(buffers, position % (file.sizeBytes() / 2 || Infinity)),
    })),
    needsFailedSync: false,
  },
  {
    name: "what is set aside is not synced before the position passes it",
    seams: {
      ...soundExportSeams,
      wrapStorage: (storage) =>
        patchStorage(storage, (file) =>
          file.path.includes("/companion/") ? { sync: (done) => done(undefined), syncNow: nothing } : {},
        ),
    },
    needsFailedSync: false,
  },
  {
    name: "the directory of the cursors is not synced",
    seams: {
      ...soundExportSeams,
      wrapStorage: (storage) =>
        patched(() => ({}), {
          syncDirectory: (directory) => {
            if (!directory.endsWith("exporters")) storage.syncDirectory(directory);
          },
        }).wrapStorage(storage),
    },
    needsFailedSync: false,
  },
  {
    name: "a failed sync of a cursor is tried again on the same file",
    seams: patched((file) => ({
      sync: (done) => {
        file.sync((error) => {
          if (error === undefined) done(undefined);
          else file.sync(done);
        });
      },
    })),
    needsFailedSync: true,
  },
  {
    name: "a failed sync of a cursor is taken for a good one",
    seams: patched((file) => ({
      sync: (done) => {
        file.sync(() => done(undefined));
      },
      syncNow: () => {
        try {
          file.syncNow();
        } catch {
          nothing();
        }
      },
    })),
    needsFailedSync: true,
  },
];
