import { isJsonObject, type JsonObject } from "../../core/json-object.ts";
import { MillraceError, textOf } from "../../core/errors.ts";
import {
  SITEWISE_ALIAS_LENGTH_MAX,
  SITEWISE_ENTRY_ID_LENGTH_MAX,
  SITEWISE_ID_LENGTH_MAX,
  SITEWISE_VALUES_PER_ENTRY_MAX,
} from "../../core/service-limits.ts";

/** One message for IoT SiteWise: `{"entryId","assetId","propertyId","propertyAlias","propertyValues"}` (PROTOCOL 3.7). */
export interface SiteWiseEntry {
  readonly entryId: string;
  readonly assetId?: string;
  readonly propertyId?: string;
  readonly propertyAlias?: string;
  readonly propertyValues: SiteWiseValue[];
}

interface SiteWiseValue {
  /** Exactly one of its fields. */
  readonly value: SiteWiseVariant;
  readonly timestamp: { readonly timeInSeconds: number; readonly offsetInNanos?: number };
  readonly quality?: Quality;
}

interface SiteWiseVariant {
  readonly stringValue?: string;
  readonly integerValue?: number;
  readonly doubleValue?: number;
  readonly booleanValue?: boolean;
  readonly nullValue?: { readonly valueType: NullType };
}

type Quality = (typeof qualities)[number];
type NullType = (typeof nullTypes)[number];

const qualities = ["GOOD", "BAD", "UNCERTAIN"] as const;
/** Double, boolean, string, integer, unknown. */
const nullTypes = ["D", "B", "S", "I", "U"] as const;
const INTEGER_MIN = -(2 ** 31);
const INTEGER_MAX = 2 ** 31 - 1;
const NANOS_MAX = 999_999_999;
const ENTRY_ID = /^[a-zA-Z0-9_-]+$/;
const ID = /^(?:[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}|externalId:[a-zA-Z0-9][\w.:-]*[a-zA-Z0-9])$/;
const CONTROL = /[\u0000-\u001f\u007f]/;
const SHOWN_LENGTH_MAX = 60;

/**
 * Reads a message as an entry. Fields that the service does not know are left out; so are those with null.
 * @throws {MillraceError} INVALID_REQUEST: no service will ever take the message
 */
export function parseSiteWiseEntry(data: Uint8Array): SiteWiseEntry {
  const fields = asFields(parseJson(data), "the message");
  const { assetId, propertyId, propertyAlias } = fields;
  const entryId = matching(fields["entryId"], "entryId", {
    pattern: ENTRY_ID,
    lengthMax: SITEWISE_ENTRY_ID_LENGTH_MAX,
  });
  const id = { pattern: ID, lengthMax: SITEWISE_ID_LENGTH_MAX };
  if (isAbsent(propertyAlias) && (isAbsent(assetId) || isAbsent(propertyId))) {
    throw invalid("it names no property: assetId and propertyId, or propertyAlias, must be there");
  }
  return {
    entryId,
    ...(isAbsent(assetId) ? {} : { assetId: matching(assetId, "assetId", id) }),
    ...(isAbsent(propertyId) ? {} : { propertyId: matching(propertyId, "propertyId", id) }),
    ...(isAbsent(propertyAlias) ? {} : { propertyAlias: aliasOf(propertyAlias) }),
    propertyValues: valuesOf(fields["propertyValues"]),
  };
}

function parseJson(data: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(data)) as unknown;
  } catch (cause) {
    throw invalid(`it is not JSON in UTF-8: ${textOf(cause)}`);
  }
}

function aliasOf(value: unknown): string {
  const isAlias =
    typeof value === "string" &&
    value !== "" &&
    value.length <= SITEWISE_ALIAS_LENGTH_MAX &&
    !CONTROL.test(value);
  if (isAlias) return value;
  const allowed = `1 to ${SITEWISE_ALIAS_LENGTH_MAX} characters without control characters`;
  throw invalid(`propertyAlias is ${shown(value)}, must be ${allowed}`);
}

function valuesOf(value: unknown): SiteWiseValue[] {
  const max = SITEWISE_VALUES_PER_ENTRY_MAX;
  if (!Array.isArray(value)) throw invalid(`propertyValues is ${shown(value)}, must be a list`);
  if (value.length < 1 || value.length > max) {
    throw invalid(`propertyValues has ${value.length} values, must have 1 to ${max}`);
  }
  return value.map((one: unknown, index) => valueOf(one, `propertyValues[${index}]`));
}

function valueOf(one: unknown, what: string): SiteWiseValue {
  const { value, timestamp, quality } = asFields(one, what);
  const { timeInSeconds, offsetInNanos } = asFields(timestamp, `${what}.timestamp`);
  const nanosRange = { min: 0, max: NANOS_MAX };
  return {
    value: variantOf(asFields(value, `${what}.value`), `${what}.value`),
    timestamp: {
      timeInSeconds: integer(timeInSeconds, `${what}.timestamp.timeInSeconds`, {
        min: 1,
        max: Number.MAX_SAFE_INTEGER,
      }),
      ...(isAbsent(offsetInNanos)
        ? {}
        : { offsetInNanos: integer(offsetInNanos, `${what}.timestamp.offsetInNanos`, nanosRange) }),
    },
    ...(isAbsent(quality) ? {} : { quality: oneOf(quality, `${what}.quality`, qualities) }),
  };
}

function variantOf(fields: JsonObject, what: string): SiteWiseVariant {
  const given = (["stringValue", "integerValue", "doubleValue", "booleanValue", "nullValue"] as const).filter(
    (name) => !isAbsent(fields[name]),
  );
  const [name] = given;
  if (name === undefined || given.length > 1) {
    throw invalid(`${what} has ${given.length === 0 ? "none" : given.join(" and ")}, must have one value`);
  }
  const value = fields[name];
  switch (name) {
    case "stringValue":
      if (typeof value === "string") return { stringValue: value };
      break;
    case "integerValue":
      return { integerValue: integer(value, `${what}.integerValue`, { min: INTEGER_MIN, max: INTEGER_MAX }) };
    case "doubleValue":
      // JSON can hold a number that no double can, and then it is read as infinite.
      if (typeof value === "number" && Number.isFinite(value)) return { doubleValue: value };
      break;
    case "booleanValue":
      if (typeof value === "boolean") return { booleanValue: value };
      break;
    case "nullValue": {
      const { valueType } = asFields(value, `${what}.nullValue`);
      return { nullValue: { valueType: oneOf(valueType, `${what}.nullValue.valueType`, nullTypes) } };
    }
  }
  throw invalid(`${what}.${name} is ${shown(value)}, must be a ${name.replace("Value", "")}`);
}

function matching(
  value: unknown,
  what: string,
  { pattern, lengthMax }: { pattern: RegExp; lengthMax: number },
): string {
  if (typeof value === "string" && value.length <= lengthMax && pattern.test(value)) return value;
  throw invalid(
    `${what} is ${shown(value)}, must be at most ${lengthMax} characters and match ${pattern.source}`,
  );
}

function integer(value: unknown, what: string, { min, max }: { min: number; max: number }): number {
  if (typeof value === "number" && Number.isSafeInteger(value) && value >= min && value <= max) return value;
  throw invalid(`${what} is ${shown(value)}, must be an integer from ${min} to ${max}`);
}

function oneOf<const T extends string>(value: unknown, what: string, words: readonly T[]): T {
  const word = words.find((one) => one === value);
  if (word !== undefined) return word;
  throw invalid(`${what} is ${shown(value)}, must be one of ${words.join(", ")}`);
}

function asFields(value: unknown, what: string): JsonObject {
  if (isJsonObject(value)) return value;
  throw invalid(`${what} is ${shown(value)}, must be an object`);
}

/** Some clients write null for what they leave out. */
function isAbsent(value: unknown): value is undefined | null {
  return value === undefined || value === null;
}

function shown(value: unknown): string {
  const text = value === undefined ? "missing" : JSON.stringify(value);
  return text.length <= SHOWN_LENGTH_MAX ? text : `${text.slice(0, SHOWN_LENGTH_MAX)}…`;
}

function invalid(reason: string): MillraceError {
  return new MillraceError("INVALID_REQUEST", `Not a PutAssetPropertyValueEntry: ${reason}`);
}
