import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { DirectoryFacts, FileSystemFacts } from "../../../src/cli/doctor/directory-facts.ts";
import { formatDiagnosis, isFit } from "../../../src/cli/doctor/doctor-report.ts";
import { promiseOf } from "../../../src/cli/doctor/promise.ts";
import type { Latency, SyncFigures } from "../../../src/cli/doctor/sync-probe.ts";
import { judge, type DoctorFacts } from "../../../src/cli/doctor/verdict.ts";

const GIB = 2 ** 30;
const USER = 1000;

const fileSystem: FileSystemFacts = {
  type: "ext4",
  mountPoint: "/",
  source: "/dev/sda1",
  options: ["rw"],
  totalBytes: 100 * GIB,
  freeBytes: 50 * GIB,
  totalFiles: 1_000_000,
  freeFiles: 900_000,
  devices: [
    { name: "sda", writeCache: "write back", isRemovable: false, isRotational: false, model: undefined },
  ],
};

const place: DirectoryFacts = {
  directory: "/home/edge/store",
  state: "there",
  nearest: "/home/edge/store",
  levels: [
    { path: "/", owner: 0, group: 0, mode: 0o755 },
    { path: "/home/edge", owner: USER, group: USER, mode: 0o755 },
    { path: "/home/edge/store", owner: USER, group: USER, mode: 0o700 },
  ],
  fileSystem,
};

function latency(p50: number, max = p50 * 4): Latency {
  return { count: 100, p50, p90: p50 * 2, p99: p50 * 3, max };
}

const figures: SyncFigures = { small: latency(1), large: latency(2), group: latency(8), create: latency(3) };

const sound: DoctorFacts = {
  place,
  user: { id: USER, group: USER },
  engine: "none",
  figures,
  probeFailure: undefined,
  openFilesMax: 1_000_000,
  nativeBindings: { areUsed: true },
  streamCount: 3,
  access: [],
  settings: { streamsMax: 10_000, connectionsMax: 1024, diskFreeMinBytes: 0 },
};

function withFileSystem(changes: Partial<FileSystemFacts>): DoctorFacts {
  return { ...sound, place: { ...place, fileSystem: { ...fileSystem, ...changes } } };
}

function withLevel(index: number, changes: Partial<DirectoryFacts["levels"][number]>): DoctorFacts {
  const levels = place.levels.map((level, at) => (at === index ? { ...level, ...changes } : level));
  return { ...sound, place: { ...place, levels } };
}

function expectRemark(facts: DoctorFacts, kind: "unfit" | "advice", text: RegExp): void {
  const remarks = judge(facts);
  assert.equal(remarks.length, 1, JSON.stringify(remarks));
  assert.equal(remarks[0]?.kind, kind);
  assert.match(remarks[0].text, text);
  assert.equal(isFit(remarks), kind === "advice");
  const verdict = kind === "unfit" ? /^verdict: NOT FIT$/m : /^verdict: fit, but read this$/m;
  assert.match(formatDiagnosis(facts, remarks), verdict);
}

describe("judge", () => {
  it("has nothing to say of a sound directory", () => {
    assert.deepEqual(judge(sound), []);
    assert.match(formatDiagnosis(sound, []), /^verdict: fit$/m);
  });

  it("holds it against a directory that others may read, or replace", () => {
    expectRemark(withLevel(2, { mode: 0o750 }), "unfit", /mode 750 lets others in: chmod 700/);
    expectRemark(withLevel(2, { owner: 0 }), "unfit", /belongs to user 0, and this is user 1000/);
    expectRemark(withLevel(1, { mode: 0o777 }), "unfit", /everybody may replace what is in \/home\/edge/);
    expectRemark(withLevel(1, { mode: 0o775, group: 50 }), "advice", /group 50 may replace/);
    expectRemark(withLevel(1, { owner: 1001 }), "advice", /belongs to user 1001/);
    assert.deepEqual(judge(withLevel(1, { mode: 0o1777 })), []);
    assert.deepEqual(judge(withLevel(1, { mode: 0o775 })), []);
  });

  it("does not ask the mode of a store of a directory that will only hold it", () => {
    const missing = {
      ...sound,
      place: { ...place, state: "missing", levels: place.levels.slice(0, 2) } as const,
    };
    assert.deepEqual(judge(missing), []);
  });

  it("warns of a disk that has little more free, or less, than is to be kept free on it", () => {
    const keeping = (diskFreeMinBytes: number): DoctorFacts => ({
      ...sound,
      settings: { ...sound.settings, diskFreeMinBytes },
    });
    expectRemark(
      keeping(51 * GIB),
      "unfit",
      /50 GiB are free, and MILLRACE_DISK_FREE_MIN_BYTES keeps 51 GiB free/,
    );
    expectRemark(keeping(49.5 * GIB), "advice", /keeps 49.5 GiB free: 512 MiB are left for messages/);
    assert.deepEqual(judge(keeping(10 * GIB)), []);
  });

  it("wants room for segments and their files", () => {
    expectRemark(withFileSystem({ freeBytes: 2 ** 20 }), "unfit", /1 MiB are free, at least 64 MiB/);
    expectRemark(withFileSystem({ freeBytes: 100 * 2 ** 20 }), "advice", /too little to measure/);
    expectRemark(withFileSystem({ freeBytes: GIB / 2 }), "advice", /keep the sum of the streams' max-size/);
    expectRemark(withFileSystem({ freeFiles: 0 }), "unfit", /no inode is free/);
    expectRemark(withFileSystem({ freeFiles: 10 }), "advice", /10 inodes are free/);
    assert.deepEqual(judge(withFileSystem({ totalFiles: 0, freeFiles: 0 })), []);
  });

  it("warns of file systems that forget, that are elsewhere, or that know no rights", () => {
    for (const type of ["tmpfs", "overlay", "nfs4", "vfat"]) {
      expectRemark(withFileSystem({ type }), "advice", new RegExp(`the file system is ${type}: `));
    }
    expectRemark(withFileSystem({ options: ["ro"] }), "unfit", /read-only/);
    expectRemark(
      withFileSystem({ options: ["rw", "nobarrier"] }),
      "unfit",
      /a sync does not reach the medium/,
    );
  });

  it("warns of a removable device with a write cache", () => {
    const [device] = fileSystem.devices;
    const devices = [{ ...device!, isRemovable: true }];
    expectRemark(withFileSystem({ devices }), "advice", /sda is removable and has a write cache/);
  });

  it("says when syncs are slow, and when they are too fast to be true", () => {
    const slow = { ...figures, small: latency(300, 900) };
    expectRemark({ ...sound, figures: slow }, "advice", /a sync takes 300 ms/);
    expectRemark({ ...sound, figures: { ...figures, large: latency(2, 4200) } }, "advice", /took 4\.2 s/);
    expectRemark({ ...sound, figures: { ...figures, small: latency(0.004) } }, "advice", /takes 4 us/);
    const memory = withFileSystem({ type: "tmpfs" });
    expectRemark({ ...memory, figures: { ...figures, small: latency(0.004) } }, "advice", /it is memory/);
  });

  it("compares the limit of open files with what is there, and with what is allowed", () => {
    expectRemark({ ...sound, openFilesMax: 1024, streamCount: 900 }, "unfit", /900 streams need 2052/);
    expectRemark({ ...sound, openFilesMax: 4096 }, "advice", /the 10000 streams .* would need 11152/);
    assert.deepEqual(judge({ ...sound, openFilesMax: undefined }), []);
  });

  it("puts what makes a directory unfit first, and takes what failed for that", () => {
    const facts = {
      ...withFileSystem({ type: "nfs" }),
      figures: undefined,
      probeFailure: "nothing can be written",
    };
    assert.deepEqual(
      judge(facts).map(({ kind }) => kind),
      ["unfit", "advice"],
    );
    assert.match(
      formatDiagnosis(facts, judge(facts)),
      /- not fit: nothing can be written\n- the file system/,
    );
  });
});

describe("promiseOf", () => {
  it("gives the rates that the formulas say", () => {
    const promise = promiseOf(figures);
    assert.equal(promise.awaitedPerSecond, 1000);
    assert.equal(promise.batchedBytesPerSecond, 64 * 1024 * 500);
    assert.equal(promise.batchedMessagesPerSecond, (64 * 1024 * 500) / 160);
    assert.equal(promise.groupBytesPerSecond, 2 ** 20 * 125);
  });
});
