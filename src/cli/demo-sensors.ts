import { closeSync, openSync, readdirSync, readSync } from "node:fs";
import path from "node:path";

/** A counter only grows, and its rate of change is what tells something; a gauge is read as it is. */
export type SensorKind = "counter" | "gauge";

export interface Sensor {
  readonly name: string;
  readonly unit: string;
  readonly kind: SensorKind;
  /** The value now, from a fresh read of the source; undefined when the machine does not give it any more. */
  read(): number | undefined;
}

export interface SensorDirectories {
  readonly proc: string;
  readonly sys: string;
}

export const machineDirectories: SensorDirectories = { proc: "/proc", sys: "/sys" };

/** Holds /proc/stat of a machine with some hundred cores. */
const SOURCE_BYTES_MAX = 64 * 1024;
const CPUS_MAX = 16;
const DISKS_MAX = 8;
const INTERFACES_MAX = 8;
const SYS_FILES_MAX = 32;

const NEWLINE = 10;
const SPACE = 32;
const MINUS = 45;
const POINT = 46;
const DIGIT_0 = 48;
const DIGIT_9 = 57;

/** A file of /proc or /sys that stays open: the kernel makes its content afresh for each read from position 0. */
class SensorFile {
  readonly #descriptor: number;
  /** Shared by all files of a bank. Byte 0 is a line feed, so that the first line is found like every other. */
  readonly #buffer: Buffer;

  constructor(file: string, buffer: Buffer) {
    this.#descriptor = openSync(file, "r");
    this.#buffer = buffer;
  }

  /**
   * Reads the file and gives the number that stands `field` fields after the anchors, which follow one another.
   * @throws whatever the kernel answers: a sensor may be there and not readable
   */
  readNumber(anchors: readonly Buffer[], field: number): number | undefined {
    let end = 1;
    while (end < this.#buffer.length) {
      const count = readSync(this.#descriptor, this.#buffer, end, this.#buffer.length - end, end - 1);
      if (count === 0) return undefined;
      end += count;
      // The kernel gives long files of many records in pieces: most values are in the first.
      const value = findNumber(this.#buffer.subarray(0, end), anchors, field);
      if (value !== undefined) return value;
    }
    return undefined;
  }

  readText(): string {
    let end = 1;
    while (end < this.#buffer.length) {
      const count = readSync(this.#descriptor, this.#buffer, end, this.#buffer.length - end, end - 1);
      if (count === 0) break;
      end += count;
    }
    return this.#buffer.toString("latin1", 1, end);
  }

  close(): void {
    closeSync(this.#descriptor);
  }
}

/** The decimal number behind the anchors; undefined when it is not there, or cut off by the end of `bytes`. */
function findNumber(bytes: Buffer, anchors: readonly Buffer[], field: number): number | undefined {
  let at = 0;
  for (const anchor of anchors) {
    const found = bytes.indexOf(anchor, at);
    if (found < 0) return undefined;
    at = found + anchor.length;
  }
  for (let skipped = 0; ; skipped++) {
    while (bytes[at] === SPACE) at++;
    if (skipped === field) break;
    while (at < bytes.length && bytes[at] !== SPACE && bytes[at] !== NEWLINE) at++;
  }
  const start = at;
  while (at < bytes.length && isNumeric(bytes[at]!)) at++;
  if (at === start || at === bytes.length) return undefined;
  return Number(bytes.toString("latin1", start, at));
}

function isNumeric(byte: number): boolean {
  return (byte >= DIGIT_0 && byte <= DIGIT_9) || byte === POINT || byte === MINUS;
}

interface SensorPlace {
  readonly name: string;
  readonly unit: string;
  readonly kind: SensorKind;
  readonly anchors: readonly string[];
  readonly field?: number;
}

/** The sensors that this machine has, each over a file that it shares with its neighbours. */
export class SensorBank {
  readonly sensors: readonly Sensor[];
  readonly #files: SensorFile[] = [];
  readonly #buffer = Buffer.alloc(1 + SOURCE_BYTES_MAX, "\n");

  constructor(directories: SensorDirectories) {
    const { proc } = directories;
    this.sensors = [
      ...this.#open(path.join(proc, "stat"), cpuPlaces),
      ...this.#open(path.join(proc, "meminfo"), memoryPlaces),
      ...this.#open(path.join(proc, "loadavg"), loadPlaces),
      ...["cpu", "memory", "io"].flatMap((resource) =>
        this.#open(path.join(proc, "pressure", resource), (text) => pressurePlaces(text, resource)),
      ),
      ...this.#open(path.join(proc, "diskstats"), diskPlaces),
      ...this.#open(path.join(proc, "net", "dev"), networkPlaces),
      ...sysFiles(directories.sys).flatMap(({ file, ...place }) =>
        this.#open(file, () => [{ ...place, anchors: ["\n"] }]),
      ),
    ];
  }

  /** Those of the places that give a number now. A file that is not there, or may not be read, has none. */
  #open(file: string, placesIn: (text: string) => readonly SensorPlace[]): Sensor[] {
    let source: SensorFile;
    let places: readonly SensorPlace[];
    try {
      source = new SensorFile(file, this.#buffer);
    } catch {
      return [];
    }
    this.#files.push(source);
    try {
      places = placesIn(source.readText());
    } catch {
      return [];
    }
    return places
      .map(({ name, unit, kind, anchors, field = 0 }) => {
        const anchorBytes = anchors.map((anchor) => Buffer.from(anchor, "latin1"));
        return { name, unit, kind, read: () => readOrNothing(source, anchorBytes, field) };
      })
      .filter((sensor) => sensor.read() !== undefined);
  }

  close(): void {
    for (const file of this.#files) file.close();
  }
}

/** A device that is pulled out, or a thermal zone that answers with an error, gives no reading. */
function readOrNothing(source: SensorFile, anchors: readonly Buffer[], field: number): number | undefined {
  try {
    return source.readNumber(anchors, field);
  } catch {
    return undefined;
  }
}

function cpuPlaces(text: string): SensorPlace[] {
  const cpus = [...text.matchAll(/^(cpu\d*) /gm)].slice(0, CPUS_MAX + 1).map((match) => match[1]!);
  const times = [
    ["user", 0],
    ["system", 2],
    ["idle", 3],
    ["iowait", 4],
  ] as const;
  const places: SensorPlace[] = cpus.flatMap((cpu) =>
    times.map(([time, field]) => ({
      name: `${cpu}.${time}`,
      unit: "ticks",
      kind: "counter",
      anchors: [`\n${cpu} `],
      field,
    })),
  );
  return [
    ...places,
    { name: "interrupts", unit: "count", kind: "counter", anchors: ["\nintr "] },
    { name: "context_switches", unit: "count", kind: "counter", anchors: ["\nctxt "] },
    { name: "forks", unit: "count", kind: "counter", anchors: ["\nprocesses "] },
    { name: "processes.running", unit: "count", kind: "gauge", anchors: ["\nprocs_running "] },
  ];
}

function memoryPlaces(): SensorPlace[] {
  const names = ["MemFree", "MemAvailable", "Buffers", "Cached", "Active", "Dirty", "Slab", "SwapFree"];
  return names.map((name) => ({
    name: `memory.${name}`,
    unit: "KiB",
    kind: "gauge",
    anchors: [`\n${name}:`],
  }));
}

function loadPlaces(): SensorPlace[] {
  return [{ name: "load.1min", unit: "processes", kind: "gauge", anchors: ["\n"] }];
}

function pressurePlaces(text: string, resource: string): SensorPlace[] {
  return ["some", "full"]
    .filter((share) => text.includes(`${share} `))
    .map((share) => ({
      name: `pressure.${resource}.${share}`,
      unit: "us",
      kind: "counter",
      anchors: [`\n${share} `, "total="],
    }));
}

/** Disks that have ever been used: the kernel lists empty loop devices too. */
function diskPlaces(text: string): SensorPlace[] {
  const disks = [...text.matchAll(/^ *\d+ +\d+ (\S+) (\d+)/gm)]
    .filter((match) => Number(match[2]) > 0)
    .slice(0, DISKS_MAX);
  const counters = [
    ["reads", "count", 0],
    ["sectors_read", "sectors", 2],
    ["writes", "count", 4],
    ["sectors_written", "sectors", 6],
    ["busy", "ms", 9],
  ] as const;
  return disks.flatMap((match) =>
    counters.map(([counter, unit, field]) => ({
      name: `disk.${match[1]!}.${counter}`,
      unit,
      kind: "counter",
      anchors: [` ${match[1]!} `],
      field,
    })),
  );
}

function networkPlaces(text: string): SensorPlace[] {
  const interfaces = [...text.matchAll(/^( *)([^\s:|]+):/gm)].slice(0, INTERFACES_MAX);
  const counters = [
    ["received", "bytes", 0],
    ["packets_received", "count", 1],
    ["sent", "bytes", 8],
    ["packets_sent", "count", 9],
  ] as const;
  return interfaces.flatMap((match) =>
    counters.map(([counter, unit, field]) => ({
      name: `net.${match[2]!}.${counter}`,
      unit,
      kind: "counter",
      anchors: [`\n${match[1]!}${match[2]!}:`],
      field,
    })),
  );
}

interface SysFile {
  readonly name: string;
  readonly unit: string;
  readonly kind: SensorKind;
  readonly file: string;
}

/** Files of /sys that hold one number each. */
function sysFiles(sys: string): SysFile[] {
  const classes = path.join(sys, "class");
  const patterns = [
    { folder: path.join(classes, "thermal"), entry: /^thermal_zone\d+$/, file: /^temp$/, unit: "m°C" },
    { folder: path.join(classes, "hwmon"), entry: /^hwmon\d+$/, file: /^temp\d+_input$/, unit: "m°C" },
    {
      folder: path.join(classes, "power_supply"),
      entry: /^/,
      file: /^(voltage_now|current_now|power_now)$/,
      unit: "u",
    },
    {
      folder: path.join(sys, "devices", "system", "cpu"),
      entry: /^cpu\d+$/,
      below: "cpufreq",
      file: /^scaling_cur_freq$/,
      unit: "kHz",
    },
  ];
  const found = patterns.flatMap(({ folder, entry, below = "", file, unit }) =>
    listNames(folder, entry).flatMap((name) =>
      listNames(path.join(folder, name, below), file).map((leaf) => ({
        name: `${name}.${leaf}`,
        unit,
        kind: "gauge" as const,
        file: path.join(folder, name, below, leaf),
      })),
    ),
  );
  return found.slice(0, SYS_FILES_MAX);
}

function listNames(folder: string, pattern: RegExp): string[] {
  try {
    return readdirSync(folder)
      .filter((name) => pattern.test(name))
      .sort();
  } catch {
    return [];
  }
}
