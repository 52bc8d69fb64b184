import { asMillraceError, MillraceError } from "../core/errors.ts";
import type { StreamOptions } from "../core/stream-options.ts";
import { checkExportDirectory } from "../export/destinations/export-directory.ts";

/**
 * Whoever configures an exporter to files hears at once, and not from its status, that nothing may be written there. A directory
 * that was there before stays. @throws {MillraceError} INVALID_REQUEST
 */
export async function checkExporterDirectories(
  next: Pick<StreamOptions, "files">,
  {
    before,
    allowed,
  }: { readonly before?: Pick<StreamOptions, "files">; readonly allowed: readonly string[] },
): Promise<void> {
  const known = new Set(before?.files?.map(({ directory }) => directory));
  for (const { identifier, directory } of next.files ?? []) {
    if (known.has(directory)) continue;
    try {
      await checkExportDirectory(directory, allowed);
    } catch (cause) {
      const { code, message } = asMillraceError(cause);
      throw new MillraceError(code, `Cannot accept exporter "${identifier}": ${message}`, { cause });
    }
  }
}
