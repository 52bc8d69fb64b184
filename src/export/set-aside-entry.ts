import type { DestinationKind } from "../core/stream-definition.ts";
import { SET_ASIDE_ERROR_CHARACTERS_MAX } from "../core/set-aside-limits.ts";
import type { ExportRecord } from "./destinations/destination.ts";
import type { DestinationSettings } from "./exporter-settings.ts";

/**
 * A message that its destination will never take, as it stands in the companion stream: one JSON object, described in the
 * README. It is recognised by `stream`, `exporter` and `sequenceNumber`: a crash may have stored it twice.
 */
export interface SetAsideEntry {
  readonly version: typeof ENTRY_VERSION;
  /** The stream from which it was to be exported; its number and its time there (Unix ms). */
  readonly stream: string;
  readonly sequenceNumber: number;
  readonly ingestTime: number;
  /** The exporter's identifier. */
  readonly exporter: string;
  readonly destination: { readonly kind: DestinationKind; readonly target: string };
  /** The kind that the exporter is configured as, where the settings send it to another. */
  readonly exporterKind?: DestinationKind;
  readonly error: string;
  /** One, and one more for each redrive after which it was set aside again. */
  readonly attempts: number;
  /** When it was set aside, Unix ms. */
  readonly time: number;
  /** Of the payload. */
  readonly sizeBytes: number;
  /** Base64; not there where the entry would be larger than a message of the companion stream may be. */
  readonly payload?: string;
  readonly payloadOmitted?: true;
}

const ENTRY_VERSION = 1;

/** A message to be set aside, on its way to the companion stream. A plain object: it is cloned. */
export interface CondemnedMessage {
  /** By which the exporter's batch knows it. */
  readonly sequence: number;
  /** In the stream that it came from: another one where it is sent from a companion stream again. */
  readonly sequenceNumber: number;
  readonly ingestTimeMs: number;
  readonly attempts: number;
  readonly payload: Uint8Array;
  readonly error: string;
}

/** What became of the condemned messages of a result. */
export interface AsideTold {
  readonly sequences: readonly number[];
  /** The destination's, of the last of them. */
  readonly reason: string;
  readonly streamName: string;
  /** Why messages could not be set aside; the exporter does not pass them. Empty where all were. */
  readonly failure: string;
}

/** Whose message it is, and when it is set aside. */
export interface EntryOrigin {
  readonly streamName: string;
  readonly identifier: string;
  /** As configured: see ExporterSettings. */
  readonly kind: DestinationKind;
  readonly destination: DestinationSettings;
  readonly nowMs: number;
}

/** The entry in at most `bytesMax` bytes, without its payload where that does not fit. */
export function encodeEntry(
  { sequenceNumber, ingestTimeMs, attempts, payload, error }: CondemnedMessage,
  { streamName, identifier, kind, destination, nowMs }: EntryOrigin,
  bytesMax: number,
): Buffer {
  const head: SetAsideEntry = {
    version: ENTRY_VERSION,
    stream: streamName,
    sequenceNumber,
    ingestTime: ingestTimeMs,
    exporter: identifier,
    destination: { kind: destination.kind, target: targetOf(destination) },
    ...(kind === destination.kind ? {} : { exporterKind: kind }),
    error: error.slice(0, SET_ASIDE_ERROR_CHARACTERS_MAX),
    attempts,
    time: nowMs,
    sizeBytes: payload.length,
  };
  const whole = Buffer.from(JSON.stringify({ ...head, payload: Buffer.from(payload).toString("base64") }));
  return whole.length <= bytesMax ? whole : Buffer.from(JSON.stringify({ ...head, payloadOmitted: true }));
}

/** What a companion stream's message holds; undefined where it is no entry of this version: anybody may append there. */
export function decodeEntry(bytes: Uint8Array): SetAsideEntry | undefined {
  let value: unknown;
  try {
    value = JSON.parse(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString());
  } catch {
    return undefined;
  }
  return isEntry(value) ? value : undefined;
}

function isEntry(value: unknown): value is SetAsideEntry {
  if (typeof value !== "object" || value === null) return false;
  const entry = value as Readonly<Record<string, unknown>>;
  const { destination, payload } = entry;
  return (
    entry["version"] === ENTRY_VERSION &&
    typeof entry["stream"] === "string" &&
    typeof entry["exporter"] === "string" &&
    [entry["sequenceNumber"], entry["ingestTime"], entry["attempts"]].every(
      (number) => Number.isSafeInteger(number) && Number(number) >= 0,
    ) &&
    typeof destination === "object" &&
    destination !== null &&
    "kind" in destination &&
    typeof destination.kind === "string" &&
    (payload === undefined || typeof payload === "string")
  );
}

/** The message in an entry, as it was in its stream; undefined where it is another exporter's, or without payload. */
export function contentOfEntry(
  bytes: Uint8Array,
  of: { readonly identifier: string; readonly kind: DestinationKind },
): ExportRecord | undefined {
  const entry = decodeEntry(bytes);
  if (entry?.payload === undefined || !isEntryOf(entry, of)) return undefined;
  const { sequenceNumber: sequence, ingestTime: ingestTimeMs, attempts, payload } = entry;
  return { sequence, ingestTimeMs, attempts, data: Buffer.from(payload, "base64") };
}

/** Wherever it was sent to, or is by now: an exporter is known by its identifier and the kind that it is configured as. */
export function isEntryOf(
  { exporter, exporterKind, destination }: SetAsideEntry,
  { identifier, kind }: { readonly identifier: string; readonly kind: string },
): boolean {
  return exporter === identifier && (exporterKind ?? destination.kind) === kind;
}

/** Where an exporter sends to, without what only who sends may know. */
function targetOf(destination: DestinationSettings): string {
  switch (destination.kind) {
    case "kinesis":
      return destination.kinesisStreamName;
    case "iotAnalytics":
      return destination.iotChannel;
    case "http": {
      if (!URL.canParse(destination.uri)) return "";
      const { origin, pathname } = new URL(destination.uri);
      return `${origin}${pathname}`;
    }
    case "file":
      return destination.directory;
    case "IotSitewise":
    case "s3TaskExecutor":
      return "";
  }
}
