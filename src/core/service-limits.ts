/** What the services that are exported to allow, and what we allow ourselves with S3; of Kinesis: kinesis-limits.ts. */
const KIB = 1024;
const MIB = 1024 * KIB;

/** BatchPutMessage of IoT Analytics. Nobody says what a whole request may have; this is not much. */
export const IOT_ANALYTICS_MESSAGES_MAX = 100;
export const IOT_ANALYTICS_MESSAGE_BYTES_MAX = 128 * KIB;
export const IOT_ANALYTICS_REQUEST_BYTES_MAX = 4 * MIB;
export const IOT_ANALYTICS_MESSAGE_ID_LENGTH_MAX = 128;
/** BatchPutAssetPropertyValue of IoT SiteWise, and what an entry may hold. */
export const SITEWISE_ENTRIES_MAX = 10;
export const SITEWISE_VALUES_PER_ENTRY_MAX = 10;
export const SITEWISE_ENTRY_ID_LENGTH_MAX = 64;
export const SITEWISE_ALIAS_LENGTH_MAX = 2048;
export const SITEWISE_ID_LENGTH_MAX = 139;
/** More than an entry with ten of the longest values takes as JSON. */
export const SITEWISE_ENTRY_BYTES_MAX = 256 * KIB;

/** S3's own bounds: of a key in UTF-8, of a task's metadata, of one PUT, of the parts of an upload and each but the last of them. */
export const S3_KEY_BYTES_MAX = 1024;
export const S3_METADATA_BYTES_MAX = 2 * KIB;
export const S3_PUT_BYTES_MAX = 5 * 1024 * MIB;
export const S3_PARTS_MAX = 10_000;
export const S3_PART_BYTES_MIN = 5 * MIB;
export const S3_PART_BYTES_MAX = 5 * 1024 * MIB;
/** Parts larger than the least are a multiple of this. */
export const S3_PART_BYTES_STEP = MIB;
export const S3_ETAG_CHARACTERS_MAX = 64;
export const S3_TASK_BYTES_MAX = 64 * KIB;
/** Of a file that is uploaded, so much is in memory at a time, and a few of the kernel's buffers. */
export const S3_READ_BYTES = 256 * KIB;
/** A task fails when its file changed, or its upload was lost, more often than this. */
export const S3_RESTARTS_MAX = 5;
/** A task fails when its bucket refused us so often, a minute apart. */
export const S3_DENIALS_MAX = 5;
/** To put the parts together S3 takes minutes, without a word. */
export const S3_COMPLETE_MS_MAX = 10 * 60_000;
/** For the parts of a task that was given up: they are removed by one try, while whoever deleted the stream waits. */
export const S3_ABORT_MS_MAX = 5_000;
