import { asMillraceError, MillraceError } from "../core/errors.ts";
import type { StreamOptions } from "../core/stream-options.ts";
import { checkExportDirectory } from "../export/destinations/export-directory.ts";
import { inTime } from "./answer-deadline.ts";
import type { EngineContext } from "./engine-context.ts";

/** What is looked at, and what the stream has already. */
interface ExporterDirectories {
  readonly stream: string;
  readonly next: Pick<StreamOptions, "files">;
  readonly before?: Pick<StreamOptions, "files">;
  /** How a directory is looked at; settles late or never where its disk hangs. */
  readonly look?: typeof checkExportDirectory;
}

/**
 * Whoever configures an exporter to files hears at once, and not from its status, that nothing may be written there. A directory
 * that was there before stays. @throws {MillraceError} INVALID_REQUEST; UNKNOWN_OUTCOME where a disk does not answer in time
 */
export async function checkExporterDirectories(
  { timers, fileDirectories }: Pick<EngineContext, "timers" | "fileDirectories">,
  { stream, next, before, look = checkExportDirectory }: ExporterDirectories,
): Promise<void> {
  if (next.files === undefined) return;
  const known = new Set(before?.files?.map(({ directory }) => directory));
  const added = next.files.filter(({ directory }) => !known.has(directory));
  const checkAll = async (): Promise<void> => {
    for (const { identifier, directory } of added) {
      try {
        await look(directory, fileDirectories);
      } catch (cause) {
        const { code, message } = asMillraceError(cause);
        throw new MillraceError(code, `Cannot accept exporter "${identifier}": ${message}`, { cause });
      }
    }
  };
  await inTime(timers, `The look at what stream "${stream}" exports to`, checkAll());
}
