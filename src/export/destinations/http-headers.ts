import { validateHeaderName, validateHeaderValue } from "node:http";
import { MillraceError, systemCode } from "../../core/errors.ts";
import { EXPORT_HEADERS_FILE_BYTES_MAX, EXPORT_HEADERS_MAX } from "../../core/limits.ts";
import { readLinkedFile, whoElseMayTouch } from "../../net/private-files.ts";

/** Header fields by origin; `*` stands for every origin. */
export type HeadersByOrigin = ReadonlyMap<string, Readonly<Record<string, string>>>;

const EVERY_ORIGIN = "*";

/** What the request itself decides. */
const ours = new Set([
  "connection",
  "content-length",
  "content-type",
  "expect",
  "host",
  "idempotency-key",
  "keep-alive",
  "te",
  "trailer",
  "transfer-encoding",
  "upgrade",
]);

/**
 * The headers of HTTP exports, from a file of sections: `[https://host:port]` or `[*]`, then lines of `Name: value`. It is read
 * through links, as certificates are, and belongs to its owner alone, since it may hold tokens.
 * @throws {MillraceError} INVALID_SETTING with a line's number, never with what stands there
 */
export function readHeadersFile(filePath: string): HeadersByOrigin {
  const { bytes, ...facts } = read(filePath);
  const others = whoElseMayTouch(facts);
  if (others !== undefined) throw unusable(filePath, others);
  return parseHeaders(bytes.toString("utf8"), filePath);
}

/** Those of all origins, then those of this one, which win. */
export function headersFor(headers: HeadersByOrigin, origin: string): Readonly<Record<string, string>> {
  return { ...headers.get(EVERY_ORIGIN), ...headers.get(origin) };
}

function parseHeaders(text: string, filePath: string): HeadersByOrigin {
  const headers = new Map<string, Record<string, string>>();
  let section: Record<string, string> | undefined;
  let count = 0;
  for (const [index, raw] of text.split(/\r?\n/).entries()) {
    const line = raw.trim();
    const fail = (reason: string): never => {
      throw unusable(filePath, `line ${index + 1}: ${reason}`);
    };
    if (line === "" || line.startsWith("#")) continue;
    if (line.startsWith("[")) {
      const origin = originOf(line) ?? fail("it is no [https://host:port] and no [*]");
      section = headers.get(origin) ?? {};
      headers.set(origin, section);
      continue;
    }
    if (section === undefined) return fail("it stands before the first [https://host:port] or [*]");
    const colon = line.indexOf(":");
    const name = line.slice(0, colon).trim().toLowerCase();
    const value = line.slice(colon + 1).trim();
    if (colon < 1 || !isHeader(name, value)) fail("it is no `Name: value` of a header");
    if (ours.has(name)) fail(`header ${name} is set by the exporter`);
    count += 1;
    if (count > EXPORT_HEADERS_MAX) fail(`there are more than ${EXPORT_HEADERS_MAX} headers`);
    section[name] = value;
  }
  return headers;
}

function originOf(line: string): string | undefined {
  const inside = /^\[([^\]]*(?:\[[^\]]*\][^\]]*)?)\]$/.exec(line)?.[1]?.trim();
  if (inside === undefined) return undefined;
  if (inside === EVERY_ORIGIN) return EVERY_ORIGIN;
  if (!URL.canParse(inside)) return undefined;
  const { origin, protocol, pathname, search, hash, username, password } = new URL(inside);
  const isOrigin = pathname === "/" && [search, hash, username, password].every((part) => part === "");
  return isOrigin && (protocol === "https:" || protocol === "http:") ? origin : undefined;
}

function isHeader(name: string, value: string): boolean {
  try {
    validateHeaderName(name);
    validateHeaderValue(name, value);
    return true;
  } catch {
    return false;
  }
}

function read(filePath: string): ReturnType<typeof readLinkedFile> {
  try {
    return readLinkedFile(filePath, EXPORT_HEADERS_FILE_BYTES_MAX);
  } catch (cause) {
    if (cause instanceof MillraceError) throw cause;
    throw unusable(filePath, systemCode(cause) ?? "it cannot be read", { cause });
  }
}

function unusable(filePath: string, reason: string, options?: ErrorOptions): MillraceError {
  return new MillraceError(
    "INVALID_SETTING",
    `Cannot use the headers of HTTP exports in ${filePath}: ${reason}`,
    options,
  );
}
