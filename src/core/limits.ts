import { assert } from "./assert.ts";

const KIB = 1024;
const MIB = 1024 * KIB;

/** Frames. The stream manager's own ceiling is 2^30; ours is what one message of the largest size needs. */
export const FRAME_BYTES_MAX_PROTOCOL = 2 ** 30;
export const MESSAGE_BYTES_MAX_DEFAULT = 16 * MIB;
/** Room for the keys around a payload: request id, stream name, CBOR heads. */
export const FRAME_OVERHEAD_BYTES_MAX = 64 * KIB;
export const APPEND_BATCH_BYTES_MAX = MIB;
/** RELIABILITY: a batch of ten million empty messages must not be cheap to send and dear to store. */
export const APPEND_BATCH_MESSAGES_MAX = 16_384;

/** CBOR of a request may nest this deep; a stream definition needs 5. */
export const CBOR_DEPTH_MAX = 16;
/** Keys of one map, known and unknown together: they are remembered to refuse a second one of the same name. */
export const CBOR_MAP_KEYS_MAX = 256;
export const CBOR_KEY_BYTES_MAX = 256;
/** The official clients send 36 characters at most; it is echoed in every reply. */
export const REQUEST_ID_BYTES_MAX = 1024;
/** Exporters of one stream, all kinds together. */
export const EXPORTERS_PER_STREAM_MAX = 64;
/** A frame over the limit is read this far, to find its request id for the refusal, and skipped from there. */
export const OVERSIZE_PREFIX_BYTES = 4 * KIB;
/** Error texts of our own operations are cut here. */
export const ERROR_TEXT_BYTES_MAX = KIB;
/** An AppendBatchResult counts its results in 16 bits. */
export const APPEND_RESULTS_PER_FRAME_MAX = 4096;

/** What a message costs in `maxSize`, `streamSegmentSize` and `totalBytes` beside its payload. */
export const MESSAGE_OVERHEAD_BYTES = 24;

/** Blocks and LZ4. */
export const BLOCK_TARGET_BYTES = 256 * KIB;
export const LZ4_BLOCK_RAW_BYTES_MAX = 4 * MIB;
export const BLOCK_RAW_BYTES_MAX = MESSAGE_BYTES_MAX_DEFAULT + 4;
/** No LZ4 block can expand by more than this factor; anything that claims to is refused before it is decompressed. */
export const LZ4_RATIO_MAX = 255;

/** Runs of one block header: batches that differ in ingest time or have a producer. */
export const BLOCK_RUNS_MAX = 4096;
/** Reading a segment: what one pread takes while scanning, and while walking over headers only. */
export const SCAN_READ_BYTES = 256 * KIB;
export const WALK_READ_BYTES = 4 * KIB;
/** A sparse index keeps one entry each this many stored bytes. */
export const INDEX_STRIDE_BYTES = 64 * KIB;
/** After this many blocks in a row that LZ4 could not shrink, it is tried on every COMPRESSION_PROBE_BLOCKS-th only. */
export const INCOMPRESSIBLE_BLOCKS_MAX = 4;
export const COMPRESSION_PROBE_BLOCKS = 16;
/** A segment rolls after its size; a roll waits for a sync in progress, and appends are refused at this multiple. */
export const SEGMENT_OVERSHOOT_MAX = 2;
/** A write that returns nothing without an error is tried this often. */
export const ZERO_WRITES_MAX = 3;
/** A segment that was idle this long gets a watermark (RELIABILITY R4). */
export const WATERMARK_IDLE_MS = 1000;
/** New segments that failed within the window before a stream is read-only; then it probes, doubling the wait. */
export const SEGMENT_FAILURES_MAX = 3;
export const SEGMENT_FAILURES_WINDOW_MS = 60_000;
export const STORAGE_PROBE_MS_MIN = 1000;
export const STORAGE_PROBE_MS_MAX = 60_000;

/** Sync of streams without flushOnWrite (RELIABILITY 2.1). */
export const SYNC_INTERVAL_MS_DEFAULT = 1000;
export const SYNC_BYTES_DEFAULT = 4 * MIB;
export const SYNC_BYTES_PER_WORKER_MAX = 16 * MIB;
export const COMMIT_ALIGN_BYTES_DEFAULT = 4096;

/** Rings: capacity is a power of two; one client may hold a quarter of a ring. */
export const RING_BYTES_DEFAULT = 4 * MIB;
export const RING_FRAGMENT_BYTES_MAX = 512 * KIB;
/** What may wait for a full ring, over all connections; above it requests are refused until the worker has caught up. */
export const RING_QUEUED_BYTES_MAX = 64 * MIB;

/** Batches a worker keeps for streams whose sync lags; above it the ring is not drained, and so sockets are not read. */
export const HELD_BYTES_MAX = 16 * MIB;
/** What a held batch costs beside its bytes: millions of tiny ones must not count as nothing. */
export const HELD_BATCH_OVERHEAD_BYTES = 256;
/** How often a worker that keeps such batches looks whether the sync has ended. */
export const HELD_POLL_MS = 2;

/** Connections and their buffers. */
export const CONNECTIONS_MAX_DEFAULT = 1024;
export const CLIENT_IN_FLIGHT_BYTES_MAX = 4 * MIB;
export const CLIENT_IN_FLIGHT_REQUESTS_MAX = 16_384;
export const OUTBOUND_BUFFERED_BYTES_MAX = MIB;
export const HANDLES_PER_CONNECTION_MAX = 1024;
export const SUBSCRIPTIONS_PER_CONNECTION_MAX = 64;
export const SUBSCRIPTION_CREDIT_BYTES_MAX = 16 * MIB;
/** What a worker may push to one subscription before the main thread has seen that the client takes it. */
export const SUBSCRIPTION_WINDOW_BYTES = MIB;
/** Reads of one connection that a worker has, and those that wait for their turn. */
export const READS_PER_CONNECTION_MAX = 64;
export const READS_WAITING_PER_CONNECTION_MAX = 1024;
export const WEBSOCKET_FRAGMENTS_MAX = 64;
export const WEBSOCKET_BUFFERED_CHUNKS_MAX = 1024;
/** What a peer may send before it has said who it is. */
export const CONNECT_FRAME_BYTES_MAX = 64 * KIB;
export const AUTHENTICATION_FAILURES_PER_SECOND_MAX = 5;
export const AUTHENTICATION_DELAY_MS_MAX = 5000;

/** The client: what one producer holds, and how long it waits. */
export const CLIENT_BATCH_BYTES_DEFAULT = 64 * KIB;
export const CLIENT_IN_FLIGHT_BATCHES_DEFAULT = 16;
export const CLIENT_IN_FLIGHT_BATCHES_MAX = 4096;
/** Appends that wait for room in a full window; one more is refused. */
export const CLIENT_WAITING_APPENDS_MAX = 16_384;
export const CLIENT_BACKOFF_MS_MIN = 50;
export const CLIENT_BACKOFF_MS_MAX = 5000;
export const CLIENT_REQUEST_TIMEOUT_MS = 60_000;
export const CLIENT_CONNECT_TIMEOUT_MS = 10_000;
export const SUBSCRIPTION_CREDIT_BYTES_DEFAULT = MIB;

/** Deadlines, milliseconds. */
export const FIRST_BYTE_DEADLINE_MS = 5000;
export const HANDSHAKE_DEADLINE_MS = 5000;
export const FRAME_DEADLINE_MS = 30_000;
export const WEBSOCKET_PING_INTERVAL_MS = 30_000;
export const SLOW_READER_DEADLINE_MS = 60_000;
export const HTTP_HEADERS_DEADLINE_MS = 5000;
export const HTTP_REQUEST_DEADLINE_MS = 10_000;
/** How long a client may wait at the door while the engine recovers. */
export const READY_WAIT_MS_MAX = 60_000;
/** How long a socket that we have finished is read and thrown away, so that the last reply is not lost to a reset. */
export const LINGER_DEADLINE_MS = 5000;
/** PROTOCOL 4, the 60-second trap: no reply may come later than a client's request timeout. */
export const READ_WAIT_MS_MAX = 59_000;
export const APPEND_OUTCOME_DEADLINE_MS = 50_000;
export const SHUTDOWN_DEADLINE_MS = 10_000;

/** Reads. */
export const READ_REPLY_BYTES_MAX = 4 * MIB;
/** Bytes that a message adds to a reply beside its payload and the stream's name: keys, heads and two integers. */
export const READ_REPLY_MESSAGE_OVERHEAD_BYTES = 76;
/** A minimum of messages that has more bytes than this is answered with status 7. */
export const READ_REPLY_BYTES_HARD_MAX = 64 * MIB;
export const READ_CHUNK_BYTES_MAX = 256 * KIB;

export const STREAMS_MAX_DEFAULT = 10_000;
export const WORKER_DEATHS_MAX = 5;
export const WORKER_DEATHS_WINDOW_MS = 60_000;

/** Export. */
export const EXPORT_BACKOFF_MS_MIN = 100;
export const EXPORT_BACKOFF_MS_MAX = 5 * 60_000;
export const EXPORT_REQUEST_TIMEOUT_MS = 30_000;
export const CURSOR_SYNC_INTERVAL_MS = 1000;
export const EXPORT_CONNECTION_TIMEOUT_MS = 10_000;
export const EXPORT_RESPONSE_BYTES_MAX = MIB;
/** One try a minute where only a person or a role can mend it: no credentials, no permission. */
export const EXPORT_SLOW_RETRY_MS = 60_000;
/** After a request that took too long the next is half as large, down to this. */
export const EXPORT_REQUEST_BYTES_MAX = 16 * MIB;
export const EXPORT_REQUEST_BYTES_MIN = 64 * KIB;
export const EXPORT_ARRIVAL_MARKS_MAX = 128;
/** Streams whose segments one export worker keeps open. */
export const EXPORT_READERS_MAX = 16;
export const EXPORT_THREADS_MAX_DEFAULT = 2;
export const EXPORT_THREAD_IDLE_MS_MAX = 60_000;
export const KINESIS_RECORDS_MAX = 500;
export const KINESIS_REQUEST_BYTES_MAX = 5 * MIB;
export const KINESIS_RECORD_BYTES_MAX = MIB;

/** Bounds of settings (config/schema.ts); their defaults stand above, in the section they belong to. */
export const PORT_DEFAULT = 8088;
export const PORT_MAX = 65_535;
export const WORKERS_MAX = 64;
export const WORKERS_AUTO_MAX = 4;
export const SYNC_INTERVAL_MS_MIN = 10;
export const SYNC_INTERVAL_MS_MAX = 60_000;
export const SYNC_BYTES_MIN = 64 * KIB;
export const BLOCK_TARGET_BYTES_MIN = 4 * KIB;
export const RING_BYTES_MIN = 4 * RING_FRAGMENT_BYTES_MAX;
export const RING_BYTES_MAX = 256 * MIB;
export const MESSAGE_BYTES_MAX_MIN = KIB;
export const CONNECTIONS_MAX_MAX = 65_536;
export const STREAMS_MAX_MAX = 100_000;
export const SHUTDOWN_MS_MAX = 600_000;
export const EXPORT_THREADS_DEFAULT = 5;
export const EXPORT_THREADS_MAX = 64;
export const EXPORT_BANDWIDTH_KBIT_PER_S_MAX = 1_000_000_000;
export const KINESIS_INTER_CALL_DELAY_MS_MAX = 60_000;
/** S3's own bounds for a part of a multipart upload. */
export const S3_PART_BYTES_MIN = 5 * MIB;
export const S3_PART_BYTES_MAX = 5 * 1024 * MIB;

assert(
  RING_FRAGMENT_BYTES_MAX * 4 <= RING_BYTES_DEFAULT,
  "a client's share of a ring holds at least one fragment",
);
assert(APPEND_BATCH_BYTES_MAX <= LZ4_BLOCK_RAW_BYTES_MAX, "a batch fits one LZ4 block");
assert(BLOCK_TARGET_BYTES <= LZ4_BLOCK_RAW_BYTES_MAX, "a block of target size is one LZ4 block");
assert(MESSAGE_BYTES_MAX_DEFAULT < BLOCK_RAW_BYTES_MAX, "the largest message fits a block");
