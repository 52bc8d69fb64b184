import { X509Certificate } from "node:crypto";
import { MillraceError, systemCode } from "../../core/errors.ts";
import { EXPORT_AUTHORITIES_FILE_BYTES_MAX } from "../../core/limits.ts";
import { readLinkedFile } from "../../net/private-files.ts";

const CERTIFICATE = /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g;

/**
 * The certificates that exports over TLS trust, from a PEM file, through links. @returns its certificates, and nothing else of it
 * @throws {MillraceError} INVALID_SETTING
 */
export function readAuthorities(filePath: string): string {
  try {
    const text = readLinkedFile(filePath, EXPORT_AUTHORITIES_FILE_BYTES_MAX).bytes.toString("latin1");
    const certificates = text.match(CERTIFICATE) ?? [];
    if (certificates.length === 0) throw unusable(filePath, "there is no certificate in it");
    // Each of them: TLS would pass over one that it cannot read.
    for (const one of certificates) new X509Certificate(one);
    return certificates.join("\n");
  } catch (cause) {
    if (cause instanceof MillraceError) throw cause;
    const reason = systemCode(cause) ?? (cause instanceof Error ? cause.message : "it cannot be read");
    throw unusable(filePath, reason, { cause });
  }
}

function unusable(filePath: string, reason: string, options?: ErrorOptions): MillraceError {
  const text = `Cannot use the authorities for exports in ${filePath}: ${reason}`;
  return new MillraceError("INVALID_SETTING", text, options);
}
