import { formatBytes } from "../table.ts";
import type { DirectoryFacts, Level } from "./directory-facts.ts";
import { PROBE_BYTES_MAX, type Latency, type SyncFigures } from "./sync-probe.ts";

/** Everything that the doctor looked at. */
export interface DoctorFacts {
  readonly place: DirectoryFacts;
  /** Who asks: the engine runs as the same user, or the answer is of no use. */
  readonly user: { readonly id: number; readonly group: number };
  readonly engine: "runs" | "none" | "unknown";
  /** Undefined when nothing could be measured; `probeFailure` says why. */
  readonly figures: SyncFigures | undefined;
  readonly probeFailure: string | undefined;
  readonly openFilesMax: number | undefined;
  readonly nativeBindings: { readonly areUsed: boolean; readonly path?: string; readonly reason?: string };
  /** Streams that are in the store. */
  readonly streamCount: number;
  /** What would keep an engine from letting its clients in. */
  readonly access: readonly Remark[];
  readonly settings: {
    readonly streamsMax: number;
    readonly connectionsMax: number;
    readonly diskFreeMinBytes: number;
  };
}

/** "unfit": an engine could not run here, or not keep what it promises. */
export interface Remark {
  readonly kind: "unfit" | "advice";
  readonly text: string;
}

const MIB = 1024 * 1024;
/** Less than a few segments of the default size is no room to work in. */
const FREE_BYTES_MIN = 64 * MIB;
const FREE_BYTES_LOW = 1024 * MIB;
const FREE_FILES_LOW = 1000;
/** No medium answers faster; what does has not written anything. */
const SYNC_MS_CREDIBLE = 0.02;
/** The engine calls a sync slow from here on (RELIABILITY 2.3). */
const SYNC_MS_SLOW = 1000;
/** An awaited append a second is hardly one that can be waited for. */
const SYNC_MS_SLUGGISH = 100;
/** Descriptors beside those of streams and connections: reading, exports, the engine's own. */
const OPEN_FILES_BESIDE = 128;

/** What stands against the directory, the worst first; nothing for one that is fit without reserve. */
export function judge(facts: DoctorFacts): Remark[] {
  const remarks = [
    ...judgePlace(facts),
    ...judgeRights(facts),
    ...judgeSpace(facts),
    ...judgeFileSystem(facts),
    ...judgeDevices(facts),
    ...judgeFigures(facts),
    ...judgeOpenFiles(facts),
    ...facts.access,
  ];
  return [
    ...remarks.filter(({ kind }) => kind === "unfit"),
    ...remarks.filter(({ kind }) => kind === "advice"),
  ];
}

function unfit(text: string): Remark {
  return { kind: "unfit", text };
}

function advice(text: string): Remark {
  return { kind: "advice", text };
}

function judgePlace({ place, engine, probeFailure }: DoctorFacts): Remark[] {
  if (place.state === "other")
    return [unfit(`${place.directory} is in the way: it is no directory, or a symbolic link to one`)];
  const remarks: Remark[] = [];
  if (probeFailure !== undefined) remarks.push(unfit(probeFailure));
  if (engine === "unknown") {
    remarks.push(
      advice("whether an engine runs here cannot be told: run the doctor as the user of the engine"),
    );
  }
  return remarks;
}

const STICKY = 0o1000;
const OTHERS_WRITE = 0o002;
const GROUP_WRITE = 0o020;

function judgeRights({ place, user }: DoctorFacts): Remark[] {
  const remarks: Remark[] = [];
  const own = place.state === "there" ? place.levels.at(-1) : undefined;
  if (own !== undefined && own.owner !== user.id) {
    const who = `it belongs to user ${own.owner}, and this is user ${user.id}`;
    remarks.push(
      unfit(`the engine takes only a directory of its own user: ${who}; run the doctor as that user`),
    );
  } else if (own !== undefined && (own.mode & 0o077) !== 0) {
    const mode = own.mode.toString(8);
    remarks.push(unfit(`mode ${mode} lets others in: chmod 700 ${own.path}`));
  }
  for (const level of place.levels) {
    if (level !== own) remarks.push(...judgeLevel(level, user));
  }
  return remarks;
}

/** Who may write to a directory above can put another in the store's place. */
function judgeLevel({ path, owner, group, mode }: Level, user: DoctorFacts["user"]): Remark[] {
  const remarks: Remark[] = [];
  const isSticky = (mode & STICKY) !== 0;
  if ((mode & OTHERS_WRITE) !== 0 && !isSticky) {
    remarks.push(
      unfit(`everybody may replace what is in ${path}, mode ${mode.toString(8)}: chmod o-w ${path}`),
    );
  } else if ((mode & GROUP_WRITE) !== 0 && !isSticky && group !== 0 && group !== user.group) {
    remarks.push(advice(`group ${group} may replace what is in ${path}: chmod g-w ${path}`));
  }
  if (owner !== 0 && owner !== user.id) {
    remarks.push(advice(`${path} belongs to user ${owner}, who may replace what is in it`));
  }
  return remarks;
}

function judgeSpace({ place, settings: { diskFreeMinBytes } }: DoctorFacts): Remark[] {
  const { freeBytes, totalFiles, freeFiles } = place.fileSystem;
  const remarks: Remark[] = [];
  const kept = `MILLRACE_DISK_FREE_MIN_BYTES keeps ${formatBytes(diskFreeMinBytes)}`;
  if (freeBytes < diskFreeMinBytes) {
    remarks.push(unfit(`${formatBytes(freeBytes)} are free, and ${kept} free: every stream is full`));
  } else if (diskFreeMinBytes > 0 && freeBytes < diskFreeMinBytes + FREE_BYTES_LOW) {
    const left = formatBytes(freeBytes - diskFreeMinBytes);
    remarks.push(advice(`${kept} free: ${left} are left for messages`));
  }
  const free = formatBytes(freeBytes);
  if (freeBytes < FREE_BYTES_MIN) {
    remarks.push(unfit(`${free} are free, at least ${formatBytes(FREE_BYTES_MIN)} are needed to work`));
  } else if (!hasRoomToProbe(place)) {
    remarks.push(advice(`${free} are free, too little to measure syncs`));
  } else if (freeBytes < FREE_BYTES_LOW) {
    remarks.push(advice(`${free} are free: keep the sum of the streams' max-size below that`));
  }
  // 0 in all: the file system makes inodes as it needs them.
  if (totalFiles > 0 && freeFiles === 0) remarks.push(unfit("no inode is free: no file can be made"));
  else if (totalFiles > 0 && freeFiles < FREE_FILES_LOW) {
    remarks.push(advice(`${freeFiles} inodes are free: a segment takes one, a stream five`));
  }
  return remarks;
}

const inMemory = "it is memory: everything is gone at the next start of the machine";
const overNetwork =
  "it is over a network: a sync takes as long as the server, and a lock holds on this machine only";
const withoutRights = "it knows neither owners nor modes, and no second names, which the store needs";

const typeWarnings: ReadonlyMap<string, string> = new Map([
  ["tmpfs", inMemory],
  ["ramfs", inMemory],
  ["overlay", "it is a container's own layer: it goes with the container; mount a volume here"],
  ["nfs", overNetwork],
  ["nfs4", overNetwork],
  ["cifs", overNetwork],
  ["smb3", overNetwork],
  ["9p", overNetwork],
  ["fuse.sshfs", overNetwork],
  ["vfat", withoutRights],
  ["msdos", withoutRights],
  ["exfat", withoutRights],
]);

function judgeFileSystem({ place }: DoctorFacts): Remark[] {
  const { type, options, mountPoint } = place.fileSystem;
  const remarks: Remark[] = [];
  if (options.includes("ro")) remarks.push(unfit(`${mountPoint ?? "the file system"} is mounted read-only`));
  const warning = typeWarnings.get(type);
  if (warning !== undefined) remarks.push(advice(`the file system is ${type}: ${warning}`));
  const unsafe = options.find((option) => option === "nobarrier" || option === "barrier=0");
  if (unsafe !== undefined) {
    remarks.push(
      unfit(`mounted with ${unsafe}: a sync does not reach the medium, so a power cut loses messages`),
    );
  }
  return remarks;
}

function judgeDevices({ place }: DoctorFacts): Remark[] {
  return place.fileSystem.devices.flatMap(({ name, writeCache, isRemovable }) => {
    if (!isRemovable) return [];
    const cache =
      writeCache === "write back"
        ? "has a write cache: if it says that it flushed and did not, a power cut loses messages that were acknowledged"
        : "may be pulled out";
    return [advice(`${name} is removable and ${cache}`)];
  });
}

function judgeFigures({ figures, place }: DoctorFacts): Remark[] {
  if (figures === undefined) return [];
  const remarks: Remark[] = [];
  const { small } = figures;
  const isMemory = typeWarnings.get(place.fileSystem.type) === inMemory;
  if (small.p50 < SYNC_MS_CREDIBLE && !isMemory) {
    const time = `${(small.p50 * 1000).toFixed(0)} us`;
    remarks.push(
      advice(`a sync takes ${time}: no medium is so fast, something says it has written and has not`),
    );
  }
  const slowest = Math.max(...Object.values(figures).map(({ max }: Latency) => max));
  if (slowest >= SYNC_MS_SLOW) {
    remarks.push(
      advice(`the slowest sync took ${formatMs(slowest)}: appends that wait for one take as long`),
    );
  } else if (small.p50 >= SYNC_MS_SLUGGISH) {
    remarks.push(advice(`a sync takes ${formatMs(small.p50)}: batch appends, or do without flushOnWrite`));
  }
  return remarks;
}

function judgeOpenFiles({ openFilesMax, streamCount, settings }: DoctorFacts): Remark[] {
  if (openFilesMax === undefined) return [];
  const { streamsMax, connectionsMax } = settings;
  const now = openFilesFor(streamCount, connectionsMax);
  const most = openFilesFor(streamsMax, connectionsMax);
  if (openFilesMax < now) {
    return [
      unfit(
        `${openFilesMax} files may be open, and ${streamCount} streams need ${now}: raise the limit (ulimit -n)`,
      ),
    ];
  }
  if (openFilesMax >= most) return [];
  const text = `${openFilesMax} files may be open; the ${streamsMax} streams that the settings allow would need ${most}`;
  return [advice(text)];
}

/** One a stream, one a connection, and some. */
function openFilesFor(streams: number, connections: number): number {
  return streams + connections + OPEN_FILES_BESIDE;
}

export function formatMs(ms: number): string {
  return ms < 10 ? `${ms.toFixed(2)} ms` : ms < 1000 ? `${ms.toFixed(0)} ms` : `${(ms / 1000).toFixed(1)} s`;
}

/** Whether there is room to measure without coming near a full disk. */
export function hasRoomToProbe({ fileSystem }: DirectoryFacts): boolean {
  return fileSystem.freeBytes >= FREE_BYTES_MIN + PROBE_BYTES_MAX;
}
