import { MillraceError } from "../core/errors.ts";
import { EXPORTERS_PER_STREAM_MAX } from "../core/limits.ts";
import type { CborReader } from "./cbor-reader.ts";
import type { CborWriter } from "./cbor-writer.ts";

/*
 * The data model's tables (PROTOCOL 3) as data: one rule per field, in the order in which the official clients send the keys.
 * The same rules decode a request, check an object that a program hands to the client, and encode either.
 */
export const INT64_MAX = 9_223_372_036_854_775_807n;
export const INT32_MAX = 2_147_483_647;
/** The largest duration in milliseconds of the model: INT64_MAX nanoseconds, about. */
export const DURATION_MS_MAX = 9_223_372_036_854;
/** Stream names, exporter identifiers and request ids. `\w` is ASCII, as in the JavaScript and Java clients. */
export const NAME_PATTERN = /^[\w ,.\-_]*$/;

interface TextRule {
  readonly kind: "text";
  readonly required?: true;
  readonly charactersMin?: number;
  readonly charactersMax?: number;
  readonly pattern?: RegExp;
}
interface IntegerRule {
  readonly kind: "integer";
  readonly required?: true;
  readonly min: number;
  readonly max: number | bigint;
  readonly default?: number;
  /** What a 0 stands for where it is not in the range. */
  readonly zeroMeans?: number;
}
interface ChoiceRule {
  readonly kind: "choice";
  readonly required?: true;
  readonly values: Readonly<Record<string, number>>;
  readonly default?: number;
}
interface BooleanRule {
  readonly kind: "boolean";
  readonly required?: true;
  readonly default?: boolean;
}
/** `default: "empty"`: an absent record counts as one without keys. */
interface RecordRule {
  readonly kind: "record";
  readonly required?: true;
  readonly fields: FieldRules;
  readonly default?: "empty";
}
/** Records in an array; an absent array counts as empty. */
interface ListRule {
  readonly kind: "list";
  readonly fields: FieldRules;
}
export type FieldRule = TextRule | IntegerRule | ChoiceRule | BooleanRule | RecordRule | ListRule;
export type FieldRules = Readonly<Record<string, FieldRule>>;
/** Rules that name exactly the fields of a type of the model. */
export type FieldRulesOf<T> = { readonly [K in keyof T]-?: FieldRule };

/** Text in a request takes at most this many bytes; longer is refused before it is decoded. */
const TEXT_BYTES_MAX = 16 * 1024;

/** Reads a map: the fields that `fields` names, with the right CBOR types and nothing else checked. Unknown keys are skipped. */
export function readRecord(reader: CborReader, fields: FieldRules, path: string): Record<string, unknown> {
  const record: Record<string, unknown> = {};
  reader.openMap(path);
  while (reader.nextKey()) {
    const key = reader.key;
    // An own property of the table: "__proto__" and "constructor" are unknown keys like any other.
    const rule = Object.hasOwn(fields, key) ? fields[key] : undefined;
    if (reader.takeNull()) continue;
    if (rule === undefined) reader.skip();
    else record[key] = readField(reader, rule, `${path}.${key}`);
  }
  return record;
}

function readField(reader: CborReader, rule: FieldRule, path: string): unknown {
  switch (rule.kind) {
    case "text":
      return reader.readText(path, TEXT_BYTES_MAX);
    case "integer":
    case "choice":
      return reader.readNumber(path);
    case "boolean":
      return reader.readBoolean(path);
    case "record":
      return readRecord(reader, rule.fields, path);
    case "list":
      return readList(reader, rule.fields, path);
  }
}

function readList(reader: CborReader, fields: FieldRules, path: string): unknown[] {
  const list: unknown[] = [];
  reader.openArray(path);
  while (reader.nextItem()) {
    if (list.length === EXPORTERS_PER_STREAM_MAX) {
      throw invalid(`${path} has more than ${EXPORTERS_PER_STREAM_MAX} entries`);
    }
    list.push(readRecord(reader, fields, `${path}[${list.length}]`));
  }
  return list;
}

/**
 * Checks every field and fills in defaults. The result holds the fields of the table and no others.
 * @throws {MillraceError} INVALID_REQUEST naming field, value and limit
 */
export function checkRecord(input: unknown, fields: FieldRules, path: string): Record<string, unknown> {
  if (typeof input !== "object" || input === null) throw invalid(`${path} is ${typeof input}, must be a map`);
  const record: Record<string, unknown> = {};
  for (const [key, rule] of Object.entries(fields)) {
    const value: unknown = Object.hasOwn(input, key) ? (input as Record<string, unknown>)[key] : undefined;
    const checked = checkField(value ?? undefined, rule, `${path}.${key}`);
    if (checked !== undefined) record[key] = checked;
  }
  return record;
}

function checkField(value: unknown, rule: FieldRule, path: string): unknown {
  if (value === undefined) {
    if (rule.kind === "list") return [];
    if (rule.required === true) throw invalid(`${path} is missing`);
    if (rule.kind === "record")
      return rule.default === "empty" ? checkRecord({}, rule.fields, path) : undefined;
    return rule.kind === "text" ? undefined : rule.default;
  }
  switch (rule.kind) {
    case "text":
      return checkText(value, rule, path);
    case "integer":
      return checkInteger(value, rule, path);
    case "choice":
      return checkChoice(value, rule, path);
    case "boolean":
      if (typeof value !== "boolean") throw invalid(`${path} is ${typeof value}, must be a boolean`);
      return value;
    case "record":
      return checkRecord(value, rule.fields, path);
    case "list":
      return checkList(value, rule, path);
  }
}

function checkText(value: unknown, rule: TextRule, path: string): string {
  if (typeof value !== "string") throw invalid(`${path} is ${typeof value}, must be text`);
  const min = rule.charactersMin ?? 0;
  const max = rule.charactersMax ?? Infinity;
  if (value.length < min) throw invalid(`${path} has ${value.length} characters, the minimum is ${min}`);
  // Python counts code points where JavaScript and Java count UTF-16 units; what any of them lets through is taken.
  if (value.length > max && Array.from(value).length > max) {
    throw invalid(`${path} has ${value.length} characters, the maximum is ${max}`);
  }
  if (rule.pattern && !rule.pattern.test(value)) {
    throw invalid(
      `${path} is ${JSON.stringify(value.slice(0, 80))}, which does not match ${rule.pattern.source}`,
    );
  }
  return value;
}

/** Returns the nearest number; only above 2^53 - 1 can it differ from what came. */
function checkInteger(value: unknown, rule: IntegerRule, path: string): number {
  if (typeof value !== "number" && typeof value !== "bigint") {
    throw invalid(`${path} is ${typeof value}, must be an integer`);
  }
  if (typeof value === "number" && !Number.isInteger(value)) {
    throw invalid(`${path} is ${value}, must be an integer`);
  }
  // Not `value === 0` alone: clients send -0 as a half float (PROTOCOL 2.1).
  if (Number(value) === 0 && rule.min > 0 && rule.zeroMeans !== undefined) return rule.zeroMeans;
  if (value < rule.min) throw invalid(`${path} is ${value}, the minimum is ${rule.min}`);
  // A JavaScript client cannot say 2^63 - 1: its maximum arrives as the float 2^63 (PROTOCOL 2.1).
  const isFloatOfMax = value === 2 ** 63 && rule.max === INT64_MAX;
  if (value > rule.max && !isFloatOfMax) throw invalid(`${path} is ${value}, the maximum is ${rule.max}`);
  return Number(value) + 0;
}

function checkChoice(value: unknown, rule: ChoiceRule, path: string): number {
  const isNumber = typeof value === "number" || typeof value === "bigint";
  for (const choice of isNumber ? Object.values(rule.values) : [])
    if (Object.is(Number(value) + 0, choice)) return choice;
  const choices = Object.entries(rule.values).map(([name, choice]) => `${choice} (${name})`);
  throw invalid(`${path} is ${String(value)}, must be one of ${choices.join(", ")}`);
}

function checkList(value: unknown, rule: ListRule, path: string): unknown[] {
  if (!Array.isArray(value)) throw invalid(`${path} is ${typeof value}, must be an array`);
  if (value.length > EXPORTERS_PER_STREAM_MAX) {
    throw invalid(`${path} has ${value.length} entries, the maximum is ${EXPORTERS_PER_STREAM_MAX}`);
  }
  return value.map((entry: unknown, index) => checkRecord(entry, rule.fields, `${path}[${index}]`));
}

/** Writes a checked record: the keys that are there, in the order of the table. */
export function writeRecord(writer: CborWriter, record: object, fields: FieldRules): void {
  const values = record as Readonly<Record<string, unknown>>;
  const keys = Object.keys(fields).filter((key) => values[key] !== undefined);
  writer.map(keys.length);
  for (const key of keys) {
    writer.text(key);
    writeField(writer, values[key], fields[key]!);
  }
}

function writeField(writer: CborWriter, value: unknown, rule: FieldRule): void {
  switch (rule.kind) {
    case "text":
      writer.text(value as string);
      return;
    case "integer":
    case "choice":
      writer.integer(value as number);
      return;
    case "boolean":
      writer.boolean(value as boolean);
      return;
    case "record":
      writeRecord(writer, value as object, rule.fields);
      return;
    case "list": {
      const entries = value as readonly object[];
      writer.array(entries.length);
      for (const entry of entries) writeRecord(writer, entry, rule.fields);
    }
  }
}

export function invalid(what: string): MillraceError {
  return new MillraceError("INVALID_REQUEST", `Cannot accept request: ${what}`);
}
