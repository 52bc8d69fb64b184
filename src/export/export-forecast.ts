import { FORECAST_HORIZON_MS, FORECAST_KEEPING_UP_MS, MESSAGE_OVERHEAD_BYTES } from "../core/limits.ts";
import { StrategyOnFull } from "../core/stream-definition.ts";
import type { MessageRate } from "../core/stream-description.ts";
import type { MessageTotals } from "../core/stream-ledger.ts";

/*
 * What becomes of a stream and of its exporters' backlogs if everything goes on at the rates of now. Sizes are as maxSize counts
 * them: payload and 24 bytes a message. All answers are milliseconds from now; undefined is never, or beyond FORECAST_HORIZON_MS.
 *
 * Whole segments are deleted at once, so a stream may lose a segment's size before it is due; the forecasts allow for one.
 */

export interface ForecastStream {
  readonly maxSizeBytes: number;
  readonly segmentBytes: number;
  readonly totalBytes: number;
  /** What one more message takes, on average; 0 where none is known. */
  readonly messageBytes: number;
  readonly strategyOnFull: StrategyOnFull;
  readonly timeToLiveMs: number | undefined;
  readonly freeExported: boolean;
  readonly appended: MessageRate;
  /** When the disk has no more free than is to be kept free; undefined where that does not come nearer. */
  readonly diskFullInMs: number | undefined;
}

export interface ForecastExporter {
  /** By its configuration: then it holds back nothing that could be freed. */
  readonly disabled: boolean;
  /** Neither disabled nor paused, and to a destination that this version knows. */
  readonly canSend: boolean;
  /** Its last attempt failed, or has been out for too long. */
  readonly isFailing: boolean;
  readonly pending: MessageTotals;
  /** Undefined where nothing is pending, or it is not known. */
  readonly oldestPendingAgeMs: number | undefined;
  readonly batchIntervalMs: number | undefined;
  readonly exported: MessageRate;
}

/** When a stream that rejects new messages begins to do so; undefined for one that overwrites. */
export function forecastFull(
  stream: ForecastStream,
  exporters: readonly ForecastExporter[],
): number | undefined {
  if (stream.strategyOnFull !== StrategyOnFull.RejectNewData) return undefined;
  const { totalBytes, segmentBytes, messageBytes } = stream;
  const maxBytes = roomLimitBytes(stream);
  const perMs = bytesPerMs(stream.appended);
  const fillsIn = (heldBytes: number, growthPerMs: number): number => {
    const roomBytes = maxBytes - heldBytes;
    if (roomBytes <= 0 || roomBytes < messageBytes) return 0;
    return growthPerMs > 0 ? roomBytes / growthPerMs : Infinity;
  };
  const holders = stream.freeExported ? exporters.filter(({ disabled }) => !disabled) : [];
  // The slowest exporter holds what is not freed.
  const fullInMs =
    holders.length === 0
      ? fillsIn(totalBytes, perMs)
      : Math.min(
          ...holders.map((exporter) => {
            const heldBytes = Math.min(totalBytes, bytesOf(exporter.pending) + segmentBytes);
            return fillsIn(heldBytes, perMs - exportedPerMs(exporter, perMs));
          }),
        );
  // What expires before the stream is full keeps it from being so; a full one is full until then.
  if (fullInMs > 0 && !outlivesRoom(stream, { maxBytes, perMs })) return undefined;
  return withinHorizon(fullInMs);
}

/** When a message that was not exported begins to be lost for the exporter: overwritten, or expired. */
export function forecastLoss(stream: ForecastStream, exporter: ForecastExporter): number | undefined {
  return withinHorizon(Math.min(overwrittenInMs(stream, exporter), expiredInMs(stream, exporter)));
}

/** When everything that is pending now, and what comes meanwhile, is exported. */
export function forecastDrained(
  { appended }: Pick<ForecastStream, "appended">,
  exporter: ForecastExporter,
): number | undefined {
  if (exporter.pending.messages === 0) return 0;
  if (!exporter.canSend) return undefined;
  if (isKeepingUp(exporter)) return 0;
  const gainPerMs = (exporter.exported.messagesPerSecond - appended.messagesPerSecond) / 1000;
  return gainPerMs > 0 ? withinHorizon(exporter.pending.messages / gainPerMs) : undefined;
}

/** Where the disk is full first, the stream reaches its end there. */
function roomLimitBytes({ maxSizeBytes, totalBytes, appended, diskFullInMs }: ForecastStream): number {
  if (diskFullInMs === undefined) return maxSizeBytes;
  return Math.min(maxSizeBytes, totalBytes + diskFullInMs * bytesPerMs(appended));
}

/** Whether what arrives within a time to live is more than the stream takes. */
function outlivesRoom(
  { timeToLiveMs, segmentBytes }: ForecastStream,
  { maxBytes, perMs }: { readonly maxBytes: number; readonly perMs: number },
): boolean {
  return timeToLiveMs === undefined || perMs * timeToLiveMs + segmentBytes >= maxBytes;
}

/**
 * From when the stream is full, its oldest end moves as fast as messages arrive, and a segment ahead; the exporter moves at its
 * own rate. They meet when the exporter has less than nothing left between them.
 */
function overwrittenInMs(stream: ForecastStream, exporter: ForecastExporter): number {
  if (stream.strategyOnFull !== StrategyOnFull.OverwriteOldestData) return Infinity;
  const maxBytes = roomLimitBytes(stream);
  const perMs = bytesPerMs(stream.appended);
  if (perMs <= 0 || !outlivesRoom(stream, { maxBytes, perMs })) return Infinity;
  const gainPerMs = exportedPerMs(exporter, perMs) - perMs;
  const pendingBytes = bytesOf(exporter.pending);
  if (pendingBytes === 0 && gainPerMs >= 0) return Infinity;
  const leadBytes = maxBytes - stream.segmentBytes - pendingBytes;
  const fullInMs = Math.max(0, maxBytes - stream.totalBytes) / perMs;
  if (leadBytes + gainPerMs * fullInMs < 0) return fullInMs;
  return gainPerMs < 0 ? Math.max(fullInMs, leadBytes / -gainPerMs) : Infinity;
}

/**
 * The oldest pending message grows older while the exporter works its way through the backlog, which arrived evenly over its age:
 * first what is there now, then what has arrived since.
 */
function expiredInMs(stream: ForecastStream, exporter: ForecastExporter): number {
  const { timeToLiveMs: limitMs } = stream;
  if (limitMs === undefined) return Infinity;
  const arrivingPerMs = bytesPerMs(stream.appended);
  const sentPerMs = exportedPerMs(exporter, arrivingPerMs);
  const pendingBytes = bytesOf(exporter.pending);
  if (pendingBytes === 0 && (arrivingPerMs <= 0 || sentPerMs >= arrivingPerMs)) return Infinity;
  const estimateMs = arrivingPerMs > 0 ? pendingBytes / arrivingPerMs : 0;
  const ageMs = pendingBytes === 0 ? 0 : (exporter.oldestPendingAgeMs ?? estimateMs);
  if (ageMs >= limitMs) return 0;
  const agingRate = pendingBytes === 0 ? 1 : 1 - (sentPerMs * ageMs) / pendingBytes;
  const passedInMs = sentPerMs > 0 ? pendingBytes / sentPerMs : Infinity;
  const expiresInMs = agingRate > 0 ? (limitMs - ageMs) / agingRate : Infinity;
  if (expiresInMs <= passedInMs) return expiresInMs;
  if (sentPerMs >= arrivingPerMs) return Infinity;
  // Behind what is pending now: a message is sent when all that arrived before it was.
  return Math.max(passedInMs, (limitMs - estimateMs) / (1 - sentPerMs / arrivingPerMs));
}

/** An exporter that keeps up sends what arrives, however its last minute looks: it would send more if more came. */
function exportedPerMs(exporter: ForecastExporter, arrivingPerMs: number): number {
  if (!exporter.canSend) return 0;
  const perMs = bytesPerMs(exporter.exported);
  return isKeepingUp(exporter) ? Math.max(perMs, arrivingPerMs) : perMs;
}

/** Whether nothing waits for longer than messages wait for a batch anyway. */
function isKeepingUp(exporter: ForecastExporter): boolean {
  const { canSend, isFailing, pending, oldestPendingAgeMs, batchIntervalMs = 0 } = exporter;
  if (!canSend) return false;
  if (pending.messages === 0) return true;
  if (isFailing) return false;
  return oldestPendingAgeMs !== undefined && oldestPendingAgeMs <= batchIntervalMs + FORECAST_KEEPING_UP_MS;
}

function bytesPerMs({ messagesPerSecond, bytesPerSecond }: MessageRate): number {
  return (bytesPerSecond + MESSAGE_OVERHEAD_BYTES * messagesPerSecond) / 1000;
}

function bytesOf({ messages, payloadBytes }: MessageTotals): number {
  return payloadBytes + MESSAGE_OVERHEAD_BYTES * messages;
}

function withinHorizon(ms: number): number | undefined {
  return ms <= FORECAST_HORIZON_MS ? Math.round(ms) : undefined;
}
