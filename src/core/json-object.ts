export type JsonObject = Readonly<Record<string, unknown>>;

/** Whether a value is what JSON writes in braces: neither null nor an array. */
export function isJsonObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
