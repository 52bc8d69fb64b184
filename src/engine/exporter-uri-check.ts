import { MillraceError } from "../core/errors.ts";
import type { StreamDefinition } from "../core/stream-definition.ts";

/**
 * Whoever may describe a stream is shown its URIs, so none may come that holds a password; one that was there before stays.
 * @throws {MillraceError} INVALID_REQUEST without the URI
 */
export function checkExporterUris(next: StreamDefinition, before?: StreamDefinition): void {
  const known = new Set(before?.exportDefinition.http.map(({ uri }) => uri));
  for (const { identifier, uri } of next.exportDefinition.http) {
    if (known.has(uri) || !URL.canParse(uri)) continue;
    const { username, password } = new URL(uri);
    if (username === "" && password === "") continue;
    const reason = "its uri holds a user name or password";
    const place = "they belong into the file of MILLRACE_EXPORT_HTTP_HEADERS";
    throw new MillraceError("INVALID_REQUEST", `Cannot accept exporter "${identifier}": ${reason}; ${place}`);
  }
}
