import { isIP } from "node:net";
import path from "node:path";
import * as v from "valibot";

/** How the values of one setting are read from text, checked and described. */
export interface SettingKind<T> {
  readonly schema: v.GenericSchema<unknown, T>;
  /** Turns the text of a variable or a flag into what the schema checks; text it cannot read it returns as it came. */
  fromText(text: string): unknown;
  /** What the schema accepts, to follow "must be": "an integer from 0 to 65535". */
  readonly accepts: string;
  /** Whether its values are numbers or words of a set, and so hold nothing that is private. */
  readonly isClosed?: true;
}

export function integer({ min, max }: { min: number; max: number }): SettingKind<number> {
  return {
    schema: v.pipe(v.number(), v.safeInteger(), v.minValue(min), v.maxValue(max)),
    fromText: numberFromText,
    accepts: `an integer from ${min} to ${max}`,
    isClosed: true,
  };
}

export function powerOfTwo({ min, max }: { min: number; max: number }): SettingKind<number> {
  const isPowerOfTwo = (value: number) => Number.isInteger(Math.log2(value));
  return {
    schema: v.pipe(v.number(), v.safeInteger(), v.minValue(min), v.maxValue(max), v.check(isPowerOfTwo)),
    fromText: numberFromText,
    accepts: `a power of two from ${min} to ${max}`,
    isClosed: true,
  };
}

export function oneNumberOf(values: readonly number[]): SettingKind<number> {
  return {
    schema: v.picklist(values),
    fromText: numberFromText,
    accepts: `one of ${values.join(", ")}`,
    isClosed: true,
  };
}

export function oneWordOf<const T extends string>(words: readonly T[]): SettingKind<T> {
  return {
    schema: v.pipe(
      v.string(),
      v.transform((given) => words.find((word) => word.toLowerCase() === given.toLowerCase()) ?? given),
      v.picklist(words),
    ),
    fromText: (text) => text,
    accepts: `one of ${words.join(", ")}`,
    isClosed: true,
  };
}

export const boolean: SettingKind<boolean> = {
  schema: v.boolean(),
  fromText: (text) => {
    const word = text.toLowerCase();
    return word === "true" ? true : word === "false" ? false : text;
  },
  accepts: "true or false",
  isClosed: true,
};

/** Any text of one line. */
export const text: SettingKind<string> = {
  schema: v.string(),
  fromText: (given) => given,
  accepts: "text",
};

/** Text of a form. */
export function textLike({ accepts, matches }: { accepts: string; matches: RegExp }): SettingKind<string> {
  return { schema: v.pipe(v.string(), v.regex(matches)), fromText: (given) => given, accepts };
}

/** A directory, made absolute. */
export const directory: SettingKind<string> = {
  schema: v.pipe(
    v.string(),
    v.nonEmpty(),
    v.check((given) => !given.includes("\0")),
    v.transform((given) => path.resolve(given)),
  ),
  fromText: (given) => given,
  accepts: "a directory",
};

/** A file, its path made absolute. */
export const file: SettingKind<string> = { ...directory, accepts: "a file" };

/** An address or a name to listen on. */
export const host: SettingKind<string> = {
  schema: v.pipe(
    v.string(),
    v.check((given) => isIP(given) !== 0 || /^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$/i.test(given)),
  ),
  fromText: (given) => given,
  accepts: "an IP address or a host name",
};

/** Items separated by commas in text, an array in a file. */
export function listOf({
  accepts,
  matches,
}: {
  accepts: string;
  matches: RegExp | ((item: string) => boolean);
}): SettingKind<readonly string[]> {
  const check = typeof matches === "function" ? v.check(matches) : v.regex(matches);
  return {
    schema: v.array(v.pipe(v.string(), check)),
    fromText: (given) =>
      given
        .split(",")
        .map((item) => item.trim())
        .filter((item) => item !== ""),
    accepts,
  };
}

function numberFromText(given: string): number | string {
  return /^[+-]?\d+$/.test(given.trim()) ? Number(given) : given;
}
