import { MillraceError } from "../core/errors.ts";
import type { ExportCommand } from "../core/export-command.ts";
import type { StreamDescription } from "../core/stream-description.ts";
import type { StreamOptionsChange } from "../core/stream-options.ts";

/** A command for all exporters of a stream, or for the one of that identifier, as CommandExports takes it. */
export function exportCommand(command: ExportCommand["command"], exporter: string | undefined): string {
  const document: ExportCommand = { command, ...(exporter !== undefined && { exporter }) };
  return JSON.stringify(document);
}

/**
 * What pauses exporters of a stream, or lets them go on: all, or the one of that identifier.
 * @throws {MillraceError} INVALID_REQUEST where there is none
 */
export function pauseChange(
  { definition: { name }, exporters }: Pick<StreamDescription, "definition" | "exporters">,
  { exporter, paused }: { readonly exporter: string | undefined; readonly paused: boolean },
): { readonly identifiers: readonly string[]; readonly change: StreamOptionsChange } {
  const identifiers = exporters
    .map(({ identifier }) => identifier)
    .filter((identifier) => exporter === undefined || identifier === exporter);
  if (identifiers.length === 0) {
    const what = `Cannot ${paused ? "pause" : "resume"} exports of stream "${name}"`;
    const why = exporter === undefined ? "it has no exporters" : `it has no exporter "${exporter}"`;
    throw new MillraceError("INVALID_REQUEST", `${what}: ${why}`);
  }
  const change = { paused: paused ? true : null };
  return {
    identifiers,
    change: { exporters: Object.fromEntries(identifiers.map((identifier) => [identifier, change])) },
  };
}
