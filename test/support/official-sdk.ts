import assert from "node:assert/strict";
import { createRequire } from "node:module";
import type { TestContext } from "node:test";

/** What tests use of `aws-greengrass-core-sdk`, which has no types. */
export interface Built {
  withName(name: string): Built;
  withMaxSize(bytes: number): Built;
  withStreamSegmentSize(bytes: number): Built;
  withTimeToLiveMillis(ms: number | null): Built;
  withPersistence(persistence: unknown): Built;
  withFlushOnWrite(flush: boolean): Built;
  withExportDefinition(definition: Built): Built;
  withKinesis(configs: readonly Built[]): Built;
  withIdentifier(identifier: string): Built;
  withKinesisStreamName(name: string): Built;
  withS3TaskExecutor(configs: readonly Built[]): Built;
  withStatusConfig(config: Built): Built;
  withStatusLevel(level: unknown): Built;
  withStatusStreamName(name: string): Built;
  withInputUrl(url: string): Built;
  withBucket(bucket: string): Built;
  withKey(key: string): Built;
  withUserMetadata(metadata: Record<string, string>): Built;
  withDisabled(disabled: boolean): Built;
  withStartSequenceNumber(sequence: number): Built;
  withStrategyOnFull(strategy: unknown): Built;
  withDesiredStartSequenceNumber(sequence: number): Built;
  withMinMessageCount(count: number): Built;
  withMaxMessageCount(count: number): Built;
  withReadTimeoutMillis(ms: number): Built;
}
export interface OfficialMessage {
  readonly streamName: string;
  readonly sequenceNumber: number;
  readonly ingestTime: number;
  readonly payload: Buffer;
}
export interface OfficialClient {
  createMessageStream(definition: Built): Promise<void>;
  updateMessageStream(definition: Built): Promise<void>;
  deleteMessageStream(name: string): Promise<void>;
  appendMessage(name: string, payload: Buffer): Promise<number>;
  readMessages(name: string, options?: Built): Promise<OfficialMessage[]>;
  listStreams(): Promise<string[]>;
  describeMessageStream(name: string): Promise<{
    definition: Built & {
      name: string;
      maxSize: number;
      streamSegmentSize: number;
      timeToLiveMillis: number | null;
      flushOnWrite: boolean | null;
      persistence: unknown;
    };
    storageStatus: { oldestSequenceNumber: number; newestSequenceNumber: number; totalBytes: number };
    exportStatuses: { exportConfigIdentifier: string; lastExportedSequenceNumber: number }[];
  }>;
  close(): void;
  /** Called by the constructor, which leaves its promise to nobody. */
  __connect(): Promise<void>;
}
/** What the client's own parser makes of a status message. */
export interface OfficialStatus {
  /** The client's own constants. */
  readonly eventType: unknown;
  readonly status: unknown;
  readonly statusLevel: unknown;
  readonly message: string;
  readonly timestampEpochMs: number;
  readonly statusContext: {
    readonly s3ExportTaskDefinition: {
      readonly inputUrl: string;
      readonly bucket: string;
      readonly key: string;
    };
    readonly exportIdentifier: string;
    readonly streamName: string;
    readonly sequenceNumber: number;
  };
}
interface OfficialModule {
  StreamManagerClient: new (options: object) => OfficialClient;
  MessageStreamDefinition: new () => Built;
  ExportDefinition: new () => Built;
  KinesisConfig: new () => Built;
  ReadMessagesOptions: new () => Built;
  S3ExportTaskExecutorConfig: new () => Built;
  S3ExportTaskDefinition: new () => Built;
  StatusConfig: new () => Built;
  EventType: { readonly S3Task: unknown };
  Status: Readonly<Record<"Success" | "Failure" | "InProgress" | "Warning" | "Canceled", unknown>>;
  StatusLevel: Readonly<Record<"ERROR" | "WARN" | "INFO" | "DEBUG" | "TRACE", unknown>>;
  StatusMessage: unknown;
  util: {
    validateAndSerializeToJsonBytes(value: Built): Buffer;
    deserializeJsonBytesToObj(bytes: Buffer, type: unknown): OfficialStatus;
  };
  StrategyOnFull: { RejectNewData: unknown; OverwriteOldestData: unknown };
  Persistence: { File: unknown; Memory: unknown };
}

export const sdk = createRequire(import.meta.url)("aws-greengrass-core-sdk/stream-manager") as OfficialModule;
const silent = { error: ignore, info: ignore, debug: ignore, warn: ignore };

function ignore(): void {
  // The client would print every frame.
}

/** Connects the unmodified client; the token goes the way it goes on a Greengrass core. */
export async function connectOfficial(
  t: TestContext,
  engine: { readonly port: number; readonly token: string | undefined },
): Promise<OfficialClient> {
  // An empty variable counts as none.
  process.env["AWS_CONTAINER_AUTHORIZATION_TOKEN"] = engine.token ?? "";
  let client: OfficialClient | undefined;
  await new Promise<void>((resolve, reject) => {
    client = new RefusableClient({
      port: engine.port,
      logger: silent,
      onConnectCb: resolve,
      onErrorCb: reject,
    });
  });
  t.after(() => client?.close());
  return client!;
}

/** The client as it is; a refusal ends in `onErrorCb` and not, a second time, as an unhandled rejection. */
class RefusableClient extends sdk.StreamManagerClient {
  override __connect(): Promise<void> {
    const connecting = super.__connect();
    connecting.catch(ignore);
    return connecting;
  }
}

/** The least that a definition must have. */
export function definition(name: string): Built {
  return new sdk.MessageStreamDefinition()
    .withName(name)
    .withStrategyOnFull(sdk.StrategyOnFull.RejectNewData);
}

/** The client's own exception of this kind, with a text that a program may look for. */
export async function refuses(call: Promise<unknown>, name: string, text: RegExp): Promise<void> {
  await assert.rejects(call, (error: Error) => {
    assert.equal(error.constructor.name, name, error.message);
    assert.match(error.message, text);
    return true;
  });
}
