import { S3_KEY_BYTES_MAX } from "../../core/service-limits.ts";

/** What stands in a key, to be replaced: `!{timestamp:yyyy/MM/dd}` (PROTOCOL 3.7). */
const PLACEHOLDER = /!\{([a-zA-Z]+):([a-zA-Z/]+)\}/g;
const FORBIDDEN = /[\\{} %`[\]"'><~#^?|]/;

const MONTHS = [
  "January",
  "February",
  "March",
  "April",
  "May",
  "June",
  "July",
  "August",
  "September",
  "October",
  "November",
  "December",
];
const DAYS = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
const DAY_MS = 86_400_000;
const NANOS_PER_MS = 1_000_000;

/** A key that S3 takes, or why there is none. */
export type EvaluatedKey = { readonly key: string } | { readonly error: string };

/** Why a key cannot be one; undefined if it can, once its placeholders are replaced. */
export function keyFault(key: string): string | undefined {
  if (key.length === 0) return "the key is empty";
  if (key.length > S3_KEY_BYTES_MAX) {
    return `the key has ${key.length} characters, the maximum is ${S3_KEY_BYTES_MAX}`;
  }
  const character = FORBIDDEN.exec(key.replace(PLACEHOLDER, ""))?.[0];
  return character === undefined
    ? undefined
    : `the key contains ${JSON.stringify(character)}, which only a placeholder !{timestamp:letters} may`;
}

/**
 * The key with its placeholders replaced by the time, in UTC and English, as Java's DateTimeFormatter would. Letters whose
 * meaning depends on the locale of a machine, or that are none, are refused. Weeks are those of ISO 8601.
 */
export function evaluateKey(template: string, timeMs: number): EvaluatedKey {
  const faults: string[] = [];
  const time = new Date(timeMs);
  const key = template.replace(PLACEHOLDER, (whole: string, name: string, pattern: string) => {
    if (name !== "timestamp") {
      faults.push(`the key has the placeholder ${whole}; the only one there is begins with !{timestamp:`);
      return whole;
    }
    return pattern.replace(/([a-zA-Z])\1*/g, (letters) => {
      const text = fields[letters.charAt(0)]?.(time, letters.length);
      if (text !== undefined) return text;
      faults.push(`"${letters}" in the key's placeholder ${whole} is no time field that is known`);
      return letters;
    });
  });
  const [error] = faults;
  if (error !== undefined) return { error };
  const sizeBytes = Buffer.byteLength(key);
  return sizeBytes <= S3_KEY_BYTES_MAX
    ? { key }
    : { error: `the key has ${sizeBytes} bytes in UTF-8, the maximum is ${S3_KEY_BYTES_MAX}` };
}

/** A letter repeated `count` times; undefined where Java refuses so many, or so few. */
type Field = (time: Date, count: number) => string | undefined;

const year: Field = (time, count) => yearText(time.getUTCFullYear(), count);

const month: Field = (time, count) => {
  const index = time.getUTCMonth();
  return count <= 2 ? padded(index + 1, count) : named(MONTHS[index]!, count);
};

const quarter: Field = (time, count) => {
  const number = Math.floor(time.getUTCMonth() / 3) + 1;
  if (count <= 2) return padded(number, count);
  return count === 3 ? `Q${number}` : undefined;
};

const fields: Readonly<Record<string, Field>> = {
  y: year,
  u: year,
  Y: (time, count) => yearText(isoWeek(time).year, count),
  w: (time, count) => (count <= 2 ? padded(isoWeek(time).week, count) : undefined),
  M: month,
  L: month,
  Q: quarter,
  q: quarter,
  d: upToTwo((time) => time.getUTCDate()),
  D: (time, count) => (count <= 3 ? padded(dayOfYear(time), count) : undefined),
  E: (time, count) => named(DAYS[time.getUTCDay()]!, Math.max(count, 3)),
  a: (time, count) => (count === 1 ? (time.getUTCHours() < 12 ? "AM" : "PM") : undefined),
  H: upToTwo((time) => time.getUTCHours()),
  k: upToTwo((time) => time.getUTCHours() || 24),
  K: upToTwo((time) => time.getUTCHours() % 12),
  h: upToTwo((time) => time.getUTCHours() % 12 || 12),
  m: upToTwo((time) => time.getUTCMinutes()),
  s: upToTwo((time) => time.getUTCSeconds()),
  S: (time, count) =>
    count <= 9
      ? padded(time.getUTCMilliseconds() * NANOS_PER_MS, 9)
          .slice(0, count)
          .padEnd(count, "0")
      : undefined,
  A: (time, count) => padded(time.getTime() % DAY_MS, count),
  n: (time, count) => padded(time.getUTCMilliseconds() * NANOS_PER_MS, count),
  N: (time, count) => padded((time.getTime() % DAY_MS) * NANOS_PER_MS, count),
  X: (_, count) => (count <= 5 ? "Z" : undefined),
  Z: (_, count) => (count <= 3 ? "+0000" : undefined),
  z: (_, count) => (count <= 3 ? "UTC" : undefined),
};

function upToTwo(read: (time: Date) => number): Field {
  return (time, count) => (count <= 2 ? padded(read(time), count) : undefined);
}

/** Two letters are the last two digits; any other count is the least number of digits. */
function yearText(number: number, count: number): string {
  return count === 2 ? padded(number % 100, 2) : padded(number, count);
}

/** Three letters are short, four whole, five one character. */
function named(name: string, count: number): string | undefined {
  if (count === 3) return name.slice(0, 3);
  if (count === 4) return name;
  return count === 5 ? name.slice(0, 1) : undefined;
}

function padded(number: number, digits: number): string {
  return String(number).padStart(digits, "0");
}

function dayOfYear(time: Date): number {
  const start = Date.UTC(time.getUTCFullYear(), 0, 1);
  return Math.floor((time.getTime() - start) / DAY_MS) + 1;
}

/** The week that holds the day's Thursday, and the year that holds it. */
function isoWeek(time: Date): { readonly year: number; readonly week: number } {
  const daysSinceMonday = (time.getUTCDay() + 6) % 7;
  const thursday = new Date(time.getTime() + (3 - daysSinceMonday) * DAY_MS);
  return { year: thursday.getUTCFullYear(), week: Math.ceil(dayOfYear(thursday) / 7) };
}
