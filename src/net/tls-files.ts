import { createPrivateKey, X509Certificate } from "node:crypto";
import { createSecureContext } from "node:tls";
import { MillraceError, systemCode } from "../core/errors.ts";
import { TLS_EXPIRY_WARNING_MS, TLS_FILE_BYTES_MAX } from "../core/limits.ts";
import { readLinkedFile, whoElseMayTouch } from "./private-files.ts";

export interface TlsPaths {
  /** PEM: the certificate, and behind it those that lead to its authority. */
  readonly certificate: string;
  /** PEM, without a passphrase. */
  readonly key: string;
}

/** A certificate and its key, as they may be served. */
export interface TlsMaterial {
  readonly certificate: Buffer;
  readonly key: Buffer;
  /** When the certificate expires, in wall-clock time. */
  readonly notAfterMs: number;
}

const DAY_MS = 86_400_000;

/**
 * Reads both files, through links, since programs that renew certificates put links in place, and checks that they fit each other.
 * @throws {MillraceError} INVALID_SETTING, without anything that stands in a file
 */
export function readTlsMaterial(paths: TlsPaths): TlsMaterial {
  const certificate = read(paths.certificate, "certificate").bytes;
  const { bytes: key, ...facts } = read(paths.key, "key");
  const others = whoElseMayTouch(facts);
  if (others !== undefined) throw unusable("key", paths.key, others);
  const { validToMs, matches } = parse(paths, certificate, key);
  if (!matches) throw unusable("key", paths.key, `it is not the key of ${paths.certificate}`);
  return { certificate, key, notAfterMs: validToMs };
}

/** What is to be said of a certificate that expires soon, or has; undefined of any other. */
export function expiryWarning(
  { notAfterMs }: Pick<TlsMaterial, "notAfterMs">,
  nowMs: number,
): string | undefined {
  const leftMs = notAfterMs - nowMs;
  if (leftMs > TLS_EXPIRY_WARNING_MS) return undefined;
  const days = Math.floor(Math.abs(leftMs) / DAY_MS);
  return leftMs > 0 ? `expires in ${days} days` : `expired ${days} days ago`;
}

function parse(
  paths: TlsPaths,
  certificate: Buffer,
  key: Buffer,
): { readonly validToMs: number; readonly matches: boolean } {
  const step = { what: "certificate", path: paths.certificate };
  try {
    const parsed = new X509Certificate(certificate);
    Object.assign(step, { what: "key", path: paths.key });
    const matches = parsed.checkPrivateKey(createPrivateKey(key));
    // What TLS itself refuses: a key too short for its security level, a broken chain.
    if (matches) createSecureContext({ cert: certificate, key });
    return { validToMs: Date.parse(parsed.validTo), matches };
  } catch (cause) {
    throw unusable(step.what, step.path, cause instanceof Error ? cause.message : String(cause), { cause });
  }
}

function read(path: string, what: string): ReturnType<typeof readLinkedFile> {
  try {
    return readLinkedFile(path, TLS_FILE_BYTES_MAX);
  } catch (cause) {
    if (cause instanceof MillraceError) throw cause;
    throw unusable(what, path, systemCode(cause) ?? "it cannot be read", { cause });
  }
}

function unusable(what: string, path: string, reason: string, options?: ErrorOptions): MillraceError {
  return new MillraceError("INVALID_SETTING", `Cannot use TLS ${what} ${path}: ${reason}`, options);
}
