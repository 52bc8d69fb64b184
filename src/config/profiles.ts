import type { ProfileName } from "./profile-name.ts";
import type { Settings } from "./schema.ts";

const MIB = 1024 * 1024;

/**
 * Settings that go together for a kind of machine: each takes the place of its default, so that whatever else says something of it
 * wins. What clients may send stays the same under all of them.
 */
export const profiles: Readonly<Record<ProfileName, Partial<Settings>>> = {
  standard: {},
  // For 1 GB and less. The largest parts of the memory are threads, and what may wait in front of a slow disk, which goes by the rings.
  small: {
    connectionsMax: 128,
    streamsMax: 1000,
    workers: 1,
    ringBytes: 2 * MIB,
    blockBytes: MIB / 8,
    syncBytes: 2 * MIB,
    memoryStreamBytesMax: 64 * MIB,
    workerHeapMib: 128,
    heapGrowth: false,
    exportThreads: 3,
    exportWorkers: 1,
  },
};
