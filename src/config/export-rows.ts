import {
  EXPORT_BANDWIDTH_KBIT_PER_S_MAX,
  EXPORT_THREADS_DEFAULT,
  EXPORT_THREADS_MAX,
  KINESIS_INTER_CALL_DELAY_MS_MAX,
  S3_PART_BYTES_MAX,
  S3_PART_BYTES_MIN,
} from "../core/limits.ts";
import { integer, listOf } from "./setting-kinds.ts";
import { optionalRow, row } from "./setting-row.ts";

const LATER_ISSUE_S3 = "this version does not export to S3 yet";

/** Settings of exports, a part of the table in schema.ts. */
export const exportRows = {
  exportThreads: row({
    env: "STREAM_MANAGER_EXPORTER_THREAD_POOL_SIZE",
    kind: integer({ min: 1, max: EXPORT_THREADS_MAX }),
    default: EXPORT_THREADS_DEFAULT,
    doc: "Most threads that export at a time; none runs while nothing is exported",
  }),
  kinesisInterCallDelayMs: row({
    env: "STREAM_MANAGER_EXPORTER_KINESIS_INTER_CALL_DELAY_MS",
    kind: integer({ min: 0, max: KINESIS_INTER_CALL_DELAY_MS_MAX }),
    default: 0,
    unit: "ms",
    doc: "Pause between two calls to Kinesis",
    unused: "this version does not pause between calls to Kinesis",
  }),
  exportKbitPerSecondMax: optionalRow({
    env: "STREAM_MANAGER_EXPORTER_MAX_BANDWIDTH",
    kind: integer({ min: 1, max: EXPORT_BANDWIDTH_KBIT_PER_S_MAX }),
    unit: "kbit/s",
    doc: "Most bandwidth that exports may use together",
    unused: "this version does not limit the bandwidth of exports yet",
  }),
  s3PartBytesMin: row({
    env: "STREAM_MANAGER_EXPORTER_S3_DESTINATION_MULTIPART_UPLOAD_MIN_PART_SIZE_BYTES",
    kind: integer({ min: S3_PART_BYTES_MIN, max: S3_PART_BYTES_MAX }),
    default: S3_PART_BYTES_MIN,
    unit: "bytes",
    doc: "Smallest part of a multipart upload to S3",
    unused: LATER_ISSUE_S3,
  }),
  readOnlyDirectories: row({
    env: "STREAM_MANAGER_READ_ONLY_DIRS",
    kind: listOf({ accepts: "absolute directories separated by commas", matches: /^\/[^,]*$/ }),
    default: [],
    doc: "Directories of files to upload to S3",
    unused: LATER_ISSUE_S3,
  }),
} as const;
