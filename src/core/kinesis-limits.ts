/** What Kinesis Data Streams allow, and what we allow ourselves with them. */
const MIB = 1024 * 1024;

/** Of one PutRecords. */
export const KINESIS_RECORDS_MAX = 500;
export const KINESIS_REQUEST_BYTES_MAX = 5 * MIB;
export const KINESIS_RECORD_BYTES_MAX = MIB;
/** Of a stream whose own record limit is above the usual one. */
export const KINESIS_REQUEST_BYTES_MAX_WITH_LARGE_RECORDS = 10 * MIB;
export const KINESIS_KEY_CHARACTERS_MAX = 256;
export const KINESIS_SHARD_RECORDS_PER_S = 1000;
export const KINESIS_SHARD_BYTES_PER_S = MIB;
/** Between two questions about one Kinesis stream. */
export const KINESIS_FACTS_MS_MIN = 60_000;
/** The most that a setting may put between two calls. */
export const KINESIS_INTER_CALL_DELAY_MS_MAX = 60_000;
