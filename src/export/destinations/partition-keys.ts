import { assert } from "../../core/assert.ts";
import { KINESIS_KEY_CHARACTERS_MAX } from "../../core/kinesis-limits.ts";
import type { Random } from "../../core/random.ts";
import type { ExportRecord } from "./destination.ts";

const UUID_BYTES = 16;
const UUID_CHARACTERS = 36;
const UTF8_BYTES_PER_CHARACTER_MAX = 4;
const FIXED = "fixed:";
const POINTER = "pointer:";
const NOT_TEXT = /\p{Surrogate}/u;

export interface ChosenKeys {
  /** In the order of the records. */
  readonly keys: readonly string[];
  /** Records whose message gave none, so that theirs is random. */
  readonly fallbackCount: number;
}

/** Chooses the partition keys of one exporter's records. */
export interface PartitionKeys {
  /** Bytes that a key takes at most: they count towards the size of its record. */
  readonly bytesMax: number;
  choose(records: readonly ExportRecord[], random: Random): ChosenKeys;
}

/** `setting` as the exporter's options have it (core/exporter-options.ts). */
export function partitionKeysOf(setting: string): PartitionKeys {
  if (setting.startsWith(FIXED)) return fixedKeys(setting.slice(FIXED.length));
  if (setting.startsWith(POINTER)) return pointedKeys(parsePointer(setting.slice(POINTER.length)));
  assert(setting === "random", `partition key ${setting}`);
  return randomKeys;
}

const randomKeys: PartitionKeys = {
  bytesMax: UUID_CHARACTERS,
  choose: (records, random) => ({ keys: randomUuids(random, records.length), fallbackCount: 0 }),
};

function fixedKeys(key: string): PartitionKeys {
  return {
    bytesMax: Buffer.byteLength(key),
    choose: (records) => ({ keys: records.map(() => key), fallbackCount: 0 }),
  };
}

/** Messages of one value there keep their order in Kinesis, and others are spread. */
function pointedKeys(path: readonly string[]): PartitionKeys {
  return {
    bytesMax: KINESIS_KEY_CHARACTERS_MAX * UTF8_BYTES_PER_CHARACTER_MAX,
    choose(records, random) {
      const found = records.map(({ data }) => keyIn(data, path));
      const fallbackCount = found.filter((key) => key === undefined).length;
      const substitutes = randomUuids(random, fallbackCount);
      let used = 0;
      const keys = found.map((key) => key ?? substitutes[used++]!);
      return { keys, fallbackCount };
    },
  };
}

function keyIn(data: Uint8Array, path: readonly string[]): string | undefined {
  let value: unknown;
  try {
    value = JSON.parse(Buffer.from(data.buffer, data.byteOffset, data.length).toString());
  } catch {
    return undefined;
  }
  for (const step of path) {
    // Own members only, of objects and lists: `length` of a list is none.
    if (typeof value !== "object" || value === null || !Object.hasOwn(value, step)) return undefined;
    if (Array.isArray(value) && !/^(?:0|[1-9]\d*)$/.test(step)) return undefined;
    value = (value as Record<string, unknown>)[step];
  }
  if (typeof value !== "string" && typeof value !== "number") return undefined;
  const key = String(value);
  const isUsable = key.length >= 1 && key.length <= KINESIS_KEY_CHARACTERS_MAX && !NOT_TEXT.test(key);
  return isUsable ? key : undefined;
}

/** RFC 6901: `/a/b` names member b of member a; `~1` stands for a slash, `~0` for a tilde. */
function parsePointer(pointer: string): string[] {
  return pointer
    .split("/")
    .slice(1)
    .map((step) => step.replaceAll("~1", "/").replaceAll("~0", "~"));
}

/** `count` random UUIDs (version 4), from one draw. */
function randomUuids(random: Random, count: number): string[] {
  const bytes = random.bytes(count * UUID_BYTES);
  const hex = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString("hex");
  const keys: string[] = [];
  for (let index = 0; index < count; index += 1) {
    const at = index * UUID_BYTES * 2;
    const variant = "89ab"[bytes[index * UUID_BYTES + 8]! & 3]!;
    keys.push(
      `${hex.slice(at, at + 8)}-${hex.slice(at + 8, at + 12)}-4${hex.slice(at + 13, at + 16)}-` +
        `${variant}${hex.slice(at + 17, at + 20)}-${hex.slice(at + 20, at + 32)}`,
    );
  }
  return keys;
}
