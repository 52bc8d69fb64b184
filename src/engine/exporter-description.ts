import { describeLoss, type ExporterDescription } from "../core/stream-description.ts";
import type { DestinationKind } from "../core/stream-definition.ts";
import { PRIORITY_LAST } from "../export/exporter-settings.ts";
import type { ExporterOutlook } from "./export-outlook.ts";

/** `lastExportTimeMs`: of the last attempt. */
export function describeExporter(
  { ledger, state, oldestPendingAgeMs, lossInMs, drainedInMs }: ExporterOutlook,
  { lastExportTimeMs }: { readonly lastExportTimeMs: number },
): ExporterDescription {
  const { identifier, disabled, position, durablePosition, errorMessage } = ledger;
  const { appended, rewound, pending, accounts, losses } = ledger;
  const { nextTryTimeMs, lastSuccessTimeMs, lastError, messagesPerSecond, bytesPerSecond } = state;
  const { fallbackMessages = 0 } = state;
  return {
    identifier,
    kind: ledger.kind as DestinationKind,
    priority: ledger.priority === PRIORITY_LAST ? null : ledger.priority,
    disabled,
    state: state.state,
    ...(nextTryTimeMs !== undefined && { nextTryTimeMs }),
    ...(lastSuccessTimeMs !== undefined && { lastSuccessTimeMs }),
    ...(lastError !== undefined && { lastError }),
    ...(fallbackMessages > 0 && { fallbackMessages }),
    exportRate: { messagesPerSecond, bytesPerSecond },
    ...(oldestPendingAgeMs !== undefined && { oldestPendingAgeMs: Math.round(oldestPendingAgeMs) }),
    forecast: { lossInMs: lossInMs ?? null, drainedInMs: drainedInMs ?? null },
    position,
    durablePosition,
    lastExportTimeMs,
    errorMessage,
    ...(ledger.notice !== "" && { notice: ledger.notice }),
    appended,
    rewound,
    pending,
    ...accounts,
    losses: losses.map(describeLoss),
  };
}
