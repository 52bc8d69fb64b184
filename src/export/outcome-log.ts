import { EventName } from "../observe/events.ts";
import type { Logger } from "../observe/logger.ts";
import type { BatchResult } from "./export-channel.ts";
import type { Exporter } from "./exporter.ts";
import type { ExporterSettings } from "./exporter-settings.ts";

/** Tells how a batch ended. An error that lasts is told once, and its end too; `before` is the error that there was. */
export function logOutcome(
  logger: Logger,
  exporter: Exporter,
  { result: { told }, before }: { result: BatchResult; before: string },
): void {
  const { errorMessage, exportConfigIdentifier } = exporter.status();
  const fields = { stream: exporter.stream.name, exporter: exportConfigIdentifier };
  const [sequence] = told?.sequences ?? [];
  if (told !== undefined && sequence !== undefined) {
    const { sequences, reason, streamName } = told;
    const count = sequences.length;
    logger.warn(EventName.ExportSetAside, { ...fields, sequence, count, reason, into: streamName });
  }
  if (sequence !== undefined && told?.failure === "") return;
  if (errorMessage !== "" && errorMessage !== before) {
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
