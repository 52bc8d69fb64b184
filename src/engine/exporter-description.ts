import { describeLoss, type ExporterDescription } from "../core/stream-description.ts";
import type { DestinationKind } from "../core/stream-definition.ts";
import type { ExporterLedger } from "../export/exporter-ledger.ts";
import { PRIORITY_LAST } from "../export/exporter-settings.ts";
import type { EngineContext } from "./engine-context.ts";

/** The exporters of a stream, in the order of its definition. */
export function describeExporters(
  { exports }: Pick<EngineContext, "exports">,
  streamId: string,
): ExporterDescription[] {
  const times = new Map(
    exports.statuses(streamId).map((status) => [status.exportConfigIdentifier, status.lastExportTime]),
  );
  return exports
    .ledgers(streamId)
    .map((ledger) => describeExporter(ledger, { lastExportTimeMs: times.get(ledger.identifier) ?? 0 }));
}

function describeExporter(
  ledger: ExporterLedger,
  { lastExportTimeMs }: { readonly lastExportTimeMs: number },
): ExporterDescription {
  const { identifier, disabled, position, durablePosition, errorMessage } = ledger;
  const { appended, rewound, pending, accounts, losses } = ledger;
  return {
    identifier,
    kind: ledger.kind as DestinationKind,
    priority: ledger.priority === PRIORITY_LAST ? null : ledger.priority,
    disabled,
    position,
    durablePosition,
    lastExportTimeMs,
    errorMessage,
    appended,
    rewound,
    pending,
    ...accounts,
    losses: losses.map(describeLoss),
  };
}
