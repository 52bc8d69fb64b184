import { EXPORT_MAP_FORM } from "../core/export-map.ts";
import { parseAddressRule } from "../core/address-rules.ts";
import {
  EXPORT_BANDWIDTH_KBIT_PER_S_MAX,
  EXPORT_THREADS_DEFAULT,
  EXPORT_THREADS_MAX,
} from "../core/limits.ts";
import { EXPORT_POOL_THREADS_DEFAULT } from "../core/thread-limits.ts";
import { KINESIS_INTER_CALL_DELAY_MS_MAX } from "../core/kinesis-limits.ts";
import { S3_PART_BYTES_MAX, S3_PART_BYTES_MIN } from "../core/service-limits.ts";
import { file, integer, listOf, textLike } from "./setting-kinds.ts";
import { optionalRow, row } from "./setting-row.ts";

const directories = listOf({ accepts: "absolute directories separated by commas", matches: /^\/[^,]*$/ });

/** Settings of exports, a part of the table in schema.ts. */
export const exportRows = {
  exportThreads: row({
    env: "STREAM_MANAGER_EXPORTER_THREAD_POOL_SIZE",
    kind: integer({ min: 1, max: EXPORT_THREADS_MAX }),
    default: EXPORT_THREADS_DEFAULT,
    doc: "Most batches that are exported at a time; no thread runs while nothing is exported",
  }),
  exportWorkers: row({
    env: "MILLRACE_EXPORT_WORKERS",
    kind: integer({ min: 1, max: EXPORT_THREADS_MAX }),
    default: EXPORT_POOL_THREADS_DEFAULT,
    doc: "Most threads that export; an upload mostly waits, so one can have several under way",
  }),
  kinesisInterCallDelayMs: row({
    env: "STREAM_MANAGER_EXPORTER_KINESIS_INTER_CALL_DELAY_MS",
    kind: integer({ min: 0, max: KINESIS_INTER_CALL_DELAY_MS_MAX }),
    default: 0,
    unit: "ms",
    doc: "Pause of an exporter to Kinesis between two calls, or between two groups of calls where it has several under way",
  }),
  exportKbitPerSecondMax: optionalRow({
    env: "STREAM_MANAGER_EXPORTER_MAX_BANDWIDTH",
    kind: integer({ min: 1, max: EXPORT_BANDWIDTH_KBIT_PER_S_MAX }),
    unit: "kbit/s",
    doc: "Most bandwidth that exports may use together, on average, counted in bytes of request bodies",
  }),
  exportAuthorities: optionalRow({
    env: "MILLRACE_EXPORT_CA",
    kind: file,
    doc: "PEM file of the authorities that exports over TLS trust, instead of those Node.js knows; read when an export thread starts",
  }),
  exportHttpHeaders: optionalRow({
    env: "MILLRACE_EXPORT_HTTP_HEADERS",
    kind: file,
    doc: "File of headers for HTTP exports, closed to others: sections [https://host:port] or [*], then lines of Name: value; read again when it changes",
  }),
  exportHttpInward: row({
    env: "MILLRACE_EXPORT_HTTP_INWARD",
    kind: listOf({
      accepts: "hosts, addresses and networks, each with or without a port, separated by commas",
      matches: (item) => parseAddressRule(item) !== undefined,
    }),
    default: [],
    doc: "What HTTP exports may reach although it is this machine, a private network or http:// without TLS: collector.local, 10.1.0.0/16, [::1]:9000",
  }),
  exportFileDirectories: row({
    env: "MILLRACE_EXPORT_FILE_DIRS",
    kind: directories,
    default: [],
    doc: "Directories within which exporters to files may write; without any there are none",
  }),
  s3PartBytesMin: row({
    env: "STREAM_MANAGER_EXPORTER_S3_DESTINATION_MULTIPART_UPLOAD_MIN_PART_SIZE_BYTES",
    kind: integer({ min: S3_PART_BYTES_MIN, max: S3_PART_BYTES_MAX }),
    default: S3_PART_BYTES_MIN,
    unit: "bytes",
    doc: "Smallest part of a multipart upload to S3; a larger part only where a file would have more than 10000",
  }),
  readOnlyDirectories: row({
    env: "STREAM_MANAGER_READ_ONLY_DIRS",
    kind: directories,
    default: [],
    doc: "Directories that the files of S3 tasks may be in, and in their subdirectories; no other file is read, so none without them",
  }),
  exportMap: row({
    env: "MILLRACE_EXPORT_MAP",
    kind: listOf({ accepts: EXPORT_MAP_FORM, matches: /^[^,]+$/ }),
    default: [],
    doc: "Sends exporters to IoT Analytics, which AWS ended, somewhere else, whatever their definition says",
  }),
  iotCredentialsEndpoint: optionalRow({
    env: "MILLRACE_AWS_IOT_CREDENTIALS_ENDPOINT",
    kind: textLike({
      accepts: "a host name, with :port where that is not 443",
      matches:
        /^[a-z0-9]([a-z0-9.-]{0,252}[a-z0-9])?(:([1-9]\d{0,3}|[1-5]\d{4}|6[0-4]\d{3}|65[0-4]\d\d|655[0-2]\d|6553[0-5]))?$/i,
    }),
    doc: "Host of the AWS IoT credential provider, which gives out AWS credentials for a device certificate",
  }),
  iotRoleAlias: optionalRow({
    env: "MILLRACE_AWS_IOT_ROLE_ALIAS",
    kind: textLike({ accepts: "1 to 128 characters of A-Z a-z 0-9 _ = , @ -", matches: /^[\w=,@-]{1,128}$/ }),
    doc: "Role alias to ask the credential provider for",
  }),
  iotCertificate: optionalRow({
    env: "MILLRACE_AWS_IOT_CERTIFICATE",
    kind: file,
    doc: "PEM file of the device certificate; read again whenever credentials are fetched",
  }),
  iotKey: optionalRow({
    env: "MILLRACE_AWS_IOT_KEY",
    kind: file,
    doc: "PEM file of the device certificate's key, closed to others",
  }),
  iotAuthorities: optionalRow({
    env: "MILLRACE_AWS_IOT_CA",
    kind: file,
    doc: "PEM file of the authorities that the credential provider is trusted by, instead of those Node.js knows",
  }),
  iotThingName: optionalRow({
    env: "MILLRACE_AWS_IOT_THING_NAME",
    kind: textLike({
      accepts: "1 to 128 characters of A-Z a-z 0-9 : _ -",
      matches: /^[A-Za-z0-9:_-]{1,128}$/,
    }),
    doc: "Thing name that goes along with the certificate, for policies that go by it",
  }),
} as const;
