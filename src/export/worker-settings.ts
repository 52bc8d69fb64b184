import type { ThreadPlace } from "../native/thread-placement.ts";

/** What an export worker is told when its thread starts, the same for all of them. A plain object: it is cloned. */
export interface ExportWorkerSettings {
  readonly storeDirectory: string;
  readonly destinations: DestinationEnvironment;
  readonly place: Omit<ThreadPlace, "name">;
  /** Threads that were started so far, shared by them, as a 32-bit number: each is named by its own. */
  readonly startCount: SharedArrayBuffer;
}

const THREAD_NUMBERS = 100_000;

/** Counts a thread and names it. Of 15 bytes at most, as the kernel keeps it: then numbers begin anew. */
export function nextThreadName({ startCount }: Pick<ExportWorkerSettings, "startCount">): string {
  return `mr-export-${Atomics.add(new Uint32Array(startCount), 0, 1) % THREAD_NUMBERS}`;
}

/** What destinations need of this machine's settings. */
export interface DestinationEnvironment {
  /** STREAM_MANAGER_EXPORTER_KINESIS_INTER_CALL_DELAY_MS */
  readonly kinesisInterCallDelayMs: number;
  /** STREAM_MANAGER_EXPORTER_S3_DESTINATION_MULTIPART_UPLOAD_MIN_PART_SIZE_BYTES */
  readonly s3PartBytesMin: number;
  /** STREAM_MANAGER_READ_ONLY_DIRS: files to upload lie within these. */
  readonly readOnlyDirectories: readonly string[];
  /** S3 is a server of one's own, as AWS_ENDPOINT_URL_S3 or AWS_ENDPOINT_URL says: buckets are named in the path. */
  readonly s3ForcePathStyle: boolean;
  /** Of every AWS client; the SDK's own chain finds them where this is undefined. */
  readonly iotCredentials: IotCredentialSettings | undefined;
  /** MILLRACE_EXPORT_CA: PEM of the authorities that TLS of every destination trusts, instead of those Node.js knows. */
  readonly authoritiesPath: string | undefined;
  /** MILLRACE_EXPORT_HTTP_HEADERS */
  readonly httpHeadersPath: string | undefined;
  /** MILLRACE_EXPORT_HTTP_INWARD, as core/address-rules.ts reads them. */
  readonly httpInward: readonly string[];
  /** MILLRACE_EXPORT_FILE_DIRS: files are exported to directories within these. */
  readonly fileDirectories: readonly string[];
}

/** Where AWS credentials come from for a device certificate: the MILLRACE_AWS_IOT_ settings. */
export interface IotCredentialSettings {
  /** Host, and `:port` where that is not 443. */
  readonly endpoint: string;
  readonly roleAlias: string;
  /** Paths of PEM files. */
  readonly certificate: string;
  readonly key: string;
  /** Those Node.js knows if undefined. */
  readonly authorities: string | undefined;
  readonly thingName: string | undefined;
}

export const destinationEnvironmentDefault: DestinationEnvironment = {
  kinesisInterCallDelayMs: 0,
  s3PartBytesMin: 5 * 1024 * 1024,
  readOnlyDirectories: [],
  s3ForcePathStyle: false,
  iotCredentials: undefined,
  authoritiesPath: undefined,
  httpHeadersPath: undefined,
  httpInward: [],
  fileDirectories: [],
};
