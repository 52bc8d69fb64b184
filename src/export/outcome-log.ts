import { EventName } from "../observe/events.ts";
import type { Logger } from "../observe/logger.ts";
import type { BatchResult } from "./export-channel.ts";
import type { Exporter } from "./exporter.ts";
import type { ExporterSettings } from "./exporter-settings.ts";

/** Tells how a batch ended. An error that lasts is told once, and its end too; `before` is the error that there was. */
export function logOutcome(
  logger: Logger,
  exporter: Exporter,
  { result, before }: { result: BatchResult; before: string },
): void {
  const { setAside, setAsideError } = result;
  const { errorMessage, exportConfigIdentifier } = exporter.status();
  const fields = { stream: exporter.stream.name, exporter: exportConfigIdentifier };
  if (setAside.length > 0) {
    const [sequence = 0] = setAside;
    const told = { ...fields, sequence, count: setAside.length, reason: setAsideError };
    logger.warn(EventName.ExportSetAside, told);
  } else if (errorMessage !== "" && errorMessage !== before) {
    logger.warn(EventName.ExportFailed, { ...fields, reason: errorMessage });
  } else if (errorMessage === "" && before !== "") logger.info(EventName.ExportRestored, fields);
}

/** Says once of an exporter that begins where it does not send to, or that nobody is there. */
export function logMapped(
  logger: Logger,
  { name: stream }: { readonly name: string },
  { identifier: exporter, destination, notice }: ExporterSettings,
): void {
  if (notice === undefined) return;
  if (destination.kind === "iotAnalytics") {
    logger.warn(EventName.ExportServiceEnded, { stream, exporter, reason: notice });
  } else {
    logger.info(EventName.ExportMapped, { stream, exporter, destination: destination.kind, reason: notice });
  }
}
