import { systemCode } from "../../core/errors.ts";

/** A field of something that was thrown, or is part of it; undefined where there is none. */
export function fieldOf(value: unknown, name: string): unknown {
  return typeof value === "object" && value !== null && name in value
    ? (value as Record<string, unknown>)[name]
    : undefined;
}

/** The HTTP status of the answer that an error of an AWS SDK was made from. */
export function httpStatusOf(thrown: unknown): number | undefined {
  const status = fieldOf(fieldOf(thrown, "$metadata"), "httpStatusCode");
  return typeof status === "number" ? status : undefined;
}

/** The error in words: its name and text, or else the status of an answer that names no error, as `unnamed` says it. */
export function describeSdkError(
  thrown: unknown,
  { isNamed, unnamed }: { readonly isNamed: boolean; readonly unnamed: string },
): string {
  if (!(thrown instanceof Error)) return String(thrown);
  const { name, message } = thrown;
  const status = httpStatusOf(thrown);
  if (!isNamed && status !== undefined && status !== 200) return `status ${status} ${unnamed}`;
  const text = message === "" ? (systemCode(thrown) ?? "no message") : message;
  return name === "" || name === "Error" ? text : `${name}: ${text}`;
}
