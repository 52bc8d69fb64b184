import { MillraceError } from "./errors.ts";
import { isJsonObject, type JsonObject } from "./json-object.ts";

/** What one field of an options document takes: gives back the value as it is kept, or says what it must be. */
export type FieldCheck<T> = (value: unknown) => { readonly value: T } | { readonly mustBe: string };

export type FieldChecks<T> = { readonly [K in keyof T]-?: FieldCheck<Exclude<T[K], undefined>> };

export const trueOrFalse: FieldCheck<boolean> = (value) =>
  typeof value === "boolean" ? { value } : { mustBe: "true or false" };

export function integerWithin(min: number, max: number): FieldCheck<number> {
  return (value) =>
    typeof value === "number" && Number.isInteger(value) && value >= min && value <= max
      ? { value }
      : { mustBe: `an integer from ${min} to ${max}` };
}

export function oneOf<const T extends string>(words: readonly T[]): FieldCheck<T> {
  return (value) => {
    const word = words.find((one) => one === value);
    return word === undefined ? { mustBe: `one of ${words.join(", ")}` } : { value: word };
  };
}

export function textMatching(pattern: RegExp, mustBe: string): FieldCheck<string> {
  return (value) => (typeof value === "string" && pattern.test(value) ? { value } : { mustBe });
}

/**
 * `base` with what `changes` names; null takes a field out. `what` names the record in errors.
 * @throws {MillraceError} INVALID_REQUEST naming the field, its value and what it takes
 */
export function changeFields<T extends object>(
  base: Partial<T>,
  changes: unknown,
  { checks, what }: { readonly checks: FieldChecks<T>; readonly what: string },
): Partial<T> {
  const next = new Map<string, unknown>(Object.entries(base));
  for (const [name, value] of Object.entries(asRecord(changes, what))) {
    const check = Object.hasOwn(checks, name) ? checks[name as keyof T] : undefined;
    if (check === undefined) {
      const known = Object.keys(checks).join(", ");
      throw invalidOption(`${what}: ${JSON.stringify(name.slice(0, 80))} is not known, only ${known}`);
    }
    if (value === null) {
      next.delete(name);
      continue;
    }
    const checked = check(value);
    if ("mustBe" in checked)
      throw invalidOption(`${what}: ${name} is ${shown(value)}, must be ${checked.mustBe}`);
    next.set(name, checked.value);
  }
  return Object.fromEntries(next) as Partial<T>;
}

/** @throws {MillraceError} INVALID_REQUEST */
export function asRecord(value: unknown, what: string): JsonObject {
  if (isJsonObject(value)) return value;
  throw invalidOption(`${what}: they are ${shown(value)}, must be an object`);
}

export function shown(value: unknown): string {
  return value === undefined ? "undefined" : JSON.stringify(value).slice(0, 80);
}

export function invalidOption(what: string): MillraceError {
  return new MillraceError("INVALID_REQUEST", `Cannot accept ${what}`);
}
