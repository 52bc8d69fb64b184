import type { MillraceClient, StreamDefinitionInput } from "../client/index.ts";
import { StrategyOnFull } from "../client/index.ts";
import { MAX_SIZE_DEFAULT, type ExportStatus } from "../core/stream-definition.ts";

/** The streams of the demo, here and in Kinesis. The model's inferences are small and urgent; the raw readings may wait. */
export const demoStreams = [
  { key: "readings", name: "DemoReadings", priority: 10 },
  { key: "inferences", name: "DemoInferences", priority: 1 },
] as const;

export type DemoStream = (typeof demoStreams)[number];
export type DemoStreamKey = DemoStream["key"];

/** One value for each stream. */
export type PerStream<T> = Readonly<Record<DemoStreamKey, T>>;

/** Makes one value for each stream. */
export function forEachStream<T>(make: (stream: DemoStream) => T): PerStream<T> {
  const [readings, inferences] = demoStreams;
  return { readings: make(readings), inferences: make(inferences) };
}

/** More than any message of the demo takes, so that a long run is not refused. */
const MESSAGE_SIZE_BYTES = 512;

export function definitionOf(
  { name, priority }: DemoStream,
  { messageCount }: { messageCount: number },
): StreamDefinitionInput {
  return {
    name,
    maxSize: Math.max(MAX_SIZE_DEFAULT, messageCount * MESSAGE_SIZE_BYTES),
    strategyOnFull: StrategyOnFull.RejectNewData,
    exportDefinition: { kinesis: [{ identifier: `${name}ToKinesis`, kinesisStreamName: name, priority }] },
  };
}

/** How far the export of a stream has come. */
export interface ExportState {
  /** Sequence number of the newest message; -1 for an empty stream. */
  readonly newestSequence: number;
  readonly exportedCount: number;
  readonly isDrained: boolean;
  /** Why the last attempt failed, else empty. */
  readonly error: string;
}

export async function readExportState(client: MillraceClient, { name }: DemoStream): Promise<ExportState> {
  const { storageStatus, exportStatuses } = await client.describeMessageStream(name);
  const newestSequence = storageStatus.newestSequenceNumber;
  const status: ExportStatus | undefined = exportStatuses[0];
  return {
    newestSequence,
    exportedCount: status?.exportedMessagesCount ?? 0,
    isDrained: (status?.lastExportedSequenceNumber ?? -1) >= newestSequence,
    error: status?.errorMessage ?? "",
  };
}
