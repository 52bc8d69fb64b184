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
/** JSON documents of our own operations, either way; the largest definition takes a tenth of it. */
export const STREAM_DOCUMENT_BYTES_MAX = MIB;
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
/** A segment rolls after its size; a roll waits for a sync in progress, and appends are refused at this multiple. */
export const SEGMENT_OVERSHOOT_MAX = 2;
/** A write that returns nothing without an error is tried this often. */
export const ZERO_WRITES_MAX = 3;
/** A segment that was idle this long gets a watermark (RELIABILITY R4). */
export const WATERMARK_IDLE_MS = 1000;
/** A stream that nothing was appended to for so long lets go of its newest segment too, where nobody needs it any more. */
export const RELEASED_IDLE_MS = 10_000;
/** A stream's ledger that could not be written is tried again after this. */
export const LEDGER_RETRY_MS = 10_000;
/** New segments that failed within the window before a stream is read-only; then it probes, doubling the wait. */
export const SEGMENT_FAILURES_MAX = 3;
export const SEGMENT_FAILURES_WINDOW_MS = 60_000;
export const STORAGE_PROBE_MS_MIN = 1000;
export const STORAGE_PROBE_MS_MAX = 60_000;

/** Room that small files find on a full medium; made in slices, so that a slow card delays nobody. */
export const BALLAST_BYTES = 8 * MIB;
export const BALLAST_SLICE_BYTES = 256 * KIB;
export const BALLAST_STEP_MS = 20;
/** How often it is looked whether it is there, and whether there is room to make it again. */
export const BALLAST_CHECK_MS = 5000;

/** Streams in memory: what their files grow by at first and at last; each file doubles it. */
export const MEMORY_CHUNK_BYTES_MIN = 64 * KIB;
export const MEMORY_CHUNK_BYTES_MAX = MIB;
/** What they may take together: this share of the memory, and no more than this. */
export const MEMORY_STREAM_SHARE_DEFAULT = 1 / 4;
export const MEMORY_STREAM_BYTES_DEFAULT_MAX = 1024 * MIB;
export const MEMORY_STREAM_BYTES_MIN = MIB;
export const MEMORY_STREAM_BYTES_MAX = 2 ** 40;

/** How often a thread asks how much of the disk is free, where some is to be kept free. */
export const DISK_ROOM_ASK_MS = 1000;
export const DISK_ROOM_CONFIRM_MS = 50;
/** How often one append may find that what it deleted did not free enough; the next one goes on. */
export const DISK_ROOM_DELETIONS_MAX = 3;
/** More than any disk has. */
export const DISK_FREE_BYTES_MAX = 2 ** 50;

/** Clocks (RELIABILITY 2.5). A wall clock this far from where it should be has leapt; nearer, it is followed. */
export const CLOCK_LEAP_MS = 3_600_000;
/** After this long without a leap the wall clock is believed. */
export const CLOCK_STEADY_MS = 600_000;
/** A wall clock that says the engine did not run for longer than this is not believed. */
export const CLOCK_ABSENCE_MS_MAX = 366 * 86_400_000;
/** A wall clock that is suddenly this far ahead makes the engine ask whether the machine slept. */
export const CLOCK_SLEEP_MS_MIN = 1000;
/** An idle stream with a time to live writes down this often how old its messages are; at its end, from this age on. */
export const AGE_MARK_INTERVAL_MS = 3_600_000;
export const AGE_MARK_AT_CLOSE_MS_MIN = 60_000;
/** How often a stream that is written to, and any other, looks whether its files stand where they were. */
export const PLACE_CHECK_MS = 1000;
export const PLACE_CHECK_IDLE_MS = 10_000;
/** Deletions of expired segments each tick: each syncs a directory, and appends wait meanwhile. */
export const EXPIRED_SEGMENTS_PER_TICK_MAX = 4;

/**
 * Rewriting a complete segment in full-size blocks. It is worth it when its blocks have on average less than the target's
 * REWRITE_SMALL_FACTOR-th part (at 64 KiB LZ4 is within 4 % of what it does at 256), and the first of the new ones takes at
 * most REWRITE_GAIN_MAX of the bytes that it replaces.
 */
export const REWRITE_SMALL_FACTOR = 4;
export const REWRITE_GAIN_MAX = 0.75;
/** Below, the two syncs and the head of a new file cost more than is gained. */
export const REWRITE_BLOCKS_MIN = 8;
export const REWRITE_SEGMENT_BYTES_MIN = 16 * KIB;
/**
 * So many complete neighbours of about one size, none more than so many times another, become one segment if that is no more
 * than a segment may be, and spans no more than this part of a time to live.
 */
export const REWRITE_MERGE_SEGMENTS = 8;
export const REWRITE_MERGE_SPREAD_MAX = 4;
export const REWRITE_MERGE_LIFETIME_SHARE = 1 / 8;
/** One slice of it reads so many blocks, or writes one, or verifies one. */
export const REWRITE_SLICE_BLOCKS = 32;
export const REWRITE_READ_BYTES = 64 * KIB;
/** While something arrives it has one part in ten of the worker's time, and all that is idle once nothing did for so long. */
export const REWRITE_PAUSE_FACTOR = 9;
export const REWRITE_QUIET_MS = 5;
/** What must stay free beside a copy of the segment: a segment that messages arrive for comes first. */
export const REWRITE_FREE_BYTES_MIN = 16 * MIB;
/** What recovery takes out of the segments of a stream is kept up to so much. */
export const QUARANTINE_STREAM_BYTES_MAX = MIB;
/** After a rewrite that failed, or found no room or no budget. */
export const REWRITE_RETRY_MS = 60_000;
/** Bytes written for each payload byte, first writes and rewrites together: no rewrite goes beyond. */
export const WRITE_AMPLIFICATION_MAX = 2;
/** But where syncs of single messages cost more than that already, rewrites may add this part to what they cost. */
export const REWRITE_WRITTEN_SHARE_MAX = 1 / 6;
/** A segment that takes twice its payload, and so much more than it, is complete, so that it can be rewritten. */
export const SEGMENT_WASTE_BYTES_MAX = 4 * MIB;

/** Sync of streams without flushOnWrite (RELIABILITY 2.1). */
export const SYNC_INTERVAL_MS_DEFAULT = 1000;
export const SYNC_BYTES_DEFAULT = 4 * MIB;
export const SYNC_BYTES_PER_WORKER_MAX = 16 * MIB;
/** What a start holds of a stream's blocks that nothing proves to be durable; a window of before is hardly ever larger. */
export const UNPROVEN_BYTES_HELD_MAX = 2 * SYNC_BYTES_PER_WORKER_MAX;
export const COMMIT_ALIGN_BYTES_DEFAULT = 4096;

/** Producers that name themselves: the batches of each that are remembered, and how many are known to a stream. */
export const PRODUCER_WINDOW_BATCHES = 64;
export const PRODUCERS_PER_STREAM_MAX = 1000;

/** Rings: capacity is a power of two; one client may hold a quarter of a ring. */
export const RING_BYTES_DEFAULT = 4 * MIB;
export const RING_FRAGMENT_BYTES_MAX = 512 * KIB;
/** What may wait for a full ring, over all connections; above it requests are refused until the worker has caught up. */
const RING_QUEUED_BYTES_MAX = 64 * MIB;
/** The same in rings, so that small ones make for a small engine. */
const RING_QUEUED_RINGS_MAX = 16;

export function ringQueuedBytesMax(ringBytes: number): number {
  return Math.min(RING_QUEUED_BYTES_MAX, RING_QUEUED_RINGS_MAX * ringBytes);
}

/** Batches a worker keeps for streams whose sync lags; above it the ring is not drained, and so sockets are not read. */
export const HELD_BYTES_MAX = 16 * MIB;
/** What a held batch costs beside its bytes: millions of tiny ones must not count as nothing. */
export const HELD_BATCH_OVERHEAD_BYTES = 256;
/** How often a worker that keeps such batches looks whether the sync has ended. */
export const HELD_POLL_MS = 2;

/** A worker that is never idle returns to its event loop after so many slices, for what is freed only there. */
export const AGENT_SLICES_PER_TURN_MAX = 64;

/** Connections and their buffers. */
export const CONNECTIONS_MAX_DEFAULT = 1024;
/** Of one address of another machine; a whole network behind one gateway is one address. */
export const CONNECTIONS_PER_ADDRESS_DEFAULT = 256;
/** Connections that come faster are closed unread, once so many came at once: after a restart everybody comes back. */
export const CONNECTIONS_PER_SECOND_MAX = 500;
export const CONNECTION_BURST_MAX = 2048;
/** Descriptors that no connection gets: for segments, cursors and directories. How often they are counted, where connections come. */
export const DESCRIPTORS_RESERVED = 32;
export const DESCRIPTOR_COUNT_MS = 1000;
/** And where there were too few: not for each of a flood. */
export const DESCRIPTOR_RECOUNT_MS = 20;
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
/** After so many requests that it has no right to a connection is not read for a moment. */
export const FORBIDDEN_REQUESTS_PER_PAUSE = 100;
export const FORBIDDEN_PAUSE_MS = 1000;
/** Bytes of frames over the limit that one connection may send between two looks at its deadlines, a second apart; then it is not read. */
export const OVERSIZE_SKIPPED_BYTES_MAX = 16 * MIB;
export const WEBSOCKET_FRAGMENTS_MAX = 64;
export const WEBSOCKET_BUFFERED_CHUNKS_MAX = 1024;
/** What a peer may send before it has said who it is. */
export const CONNECT_FRAME_BYTES_MAX = 64 * KIB;
export const AUTHENTICATION_FAILURES_PER_SECOND_MAX = 5;
export const AUTHENTICATION_DELAY_MS_MAX = 5000;
/** Lines of the log about one thing that strangers can do, such as presenting a wrong token. */
export const LOG_STRANGER_LINES_PER_SECOND_MAX = 10;
/** Tokens beside the owner's: each presented token is compared with all of them. */
export const NAMED_TOKENS_MAX = 256;
export const TOKEN_FILE_BYTES_MAX = 128 * KIB;
/** How often it is looked for tokens that were made or revoked, beside being told by the system. */
export const TOKENS_CHECK_MS = 5000;
/** TLS: certificate and key files; when the certificate's end is near, and how often that is told. */
export const TLS_FILE_BYTES_MAX = MIB;
export const TLS_EXPIRY_WARNING_MS = 14 * 86_400_000;
export const TLS_EXPIRY_CHECK_MS = 12 * 3_600_000;
/** Patterns for one right of a token, and streams about which its answer is remembered. */
export const ACCESS_PATTERNS_MAX = 64;
export const ACCESS_VERDICTS_MAX = 1024;

/** The client: what one producer holds, and how long it waits. */
export const CLIENT_BATCH_BYTES_DEFAULT = 64 * KIB;
export const CLIENT_IN_FLIGHT_BATCHES_DEFAULT = 16;
/** What a producer has in flight when a connection breaks is sent again, and the engine must remember all of it. */
export const CLIENT_IN_FLIGHT_BATCHES_MAX = PRODUCER_WINDOW_BATCHES;
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
/** Creating, changing and deleting a stream, from its arrival on; waiting for earlier ones of the same stream is within it. */
export const CONTROL_ANSWER_DEADLINE_MS = 50_000;
export const STREAM_CHANGE_WAIT_MS_MAX = 20_000;
/** Changes of one stream that wait for an earlier one. */
export const STREAM_CHANGES_WAITING_MAX = 16;
/**
 * How long storage may keep an append before that is told, before whoever sends is not read any more, and before the engine stops
 * serving: an answer that comes later than APPEND_OUTCOME_DEADLINE_MS ends an official client.
 */
export const STORAGE_SLOW_MS = 1000;
export const STORAGE_DEGRADED_MS = 10_000;
export const STORAGE_HUNG_MS = 45_000;
export const SHUTDOWN_DEADLINE_MS = 10_000;

/** Reads. */
export const READ_REPLY_BYTES_MAX = 4 * MIB;
/** Bytes that a message adds to a reply beside its payload and the stream's name: keys, heads and two integers. */
export const READ_REPLY_MESSAGE_OVERHEAD_BYTES = 76;
/** A minimum of messages that has more bytes than this is answered with status 7. */
export const READ_REPLY_BYTES_HARD_MAX = 64 * MIB;
export const READ_CHUNK_BYTES_MAX = 256 * KIB;

export const STREAMS_MAX_DEFAULT = 10_000;

/** Export. */
export const EXPORT_BACKOFF_MS_MIN = 100;
export const EXPORT_BACKOFF_MS_MAX = 5 * 60_000;
/** A request is given up when for so long no byte of it was acknowledged and none of the answer arrived. */
export const EXPORT_PROGRESS_MS_MAX = 30_000;
/** Bytes of an answer that come more slowly are no progress. */
export const EXPORT_ANSWER_BYTES_PER_SECOND_MIN = KIB;
export const CURSOR_SYNC_INTERVAL_MS = 1000;
export const EXPORT_CONNECTION_TIMEOUT_MS = 10_000;
export const EXPORT_RESPONSE_BYTES_MAX = MIB;
export const EXPORT_RESPONSE_HEADER_BYTES_MAX = 16 * KIB;
/** Answers of status 1xx before the one that counts. */
export const EXPORT_INFORMATION_MAX = 64;
/** Kept connections in a row that the other side had closed, until that counts as a failure. */
export const EXPORT_STALE_CONNECTIONS_MAX = 4;
export const EXPORT_AUTHORITIES_FILE_BYTES_MAX = 4 * MIB;
export const EXPORT_HEADERS_FILE_BYTES_MAX = 64 * KIB;
export const EXPORT_HEADERS_MAX = 256;
/** What a destination keeps in mind of where it sends to, or of what is under way; it finds out again what it has forgotten. */
export const EXPORT_REMEMBERED_MAX = 1024;
/** One try a minute where only a person or a role can mend it: no credentials, no permission. */
export const EXPORT_SLOW_RETRY_MS = 60_000;
/** Between two tries to append a status message to a stream that cannot take it now. */
export const EXPORT_NOTICE_RETRY_MS = 250;
/** Such tries for a task that ended with its stream or its exporter. */
export const EXPORT_CANCEL_NOTICE_TRIES = 20;
/** Between two tries to end the upload of an exporter that is gone, while S3 cannot be reached. */
export const EXPORT_CANCEL_RETRY_MS = 60_000;
/** After a request that took too long the next is half as large, down to this. */
export const EXPORT_REQUEST_BYTES_MAX = 16 * MIB;
export const EXPORT_REQUEST_BYTES_MIN = 64 * KIB;
export const EXPORT_ARRIVAL_MARKS_MAX = 256;
/** Behind a refused message an exporter looks for one that is accepted within so many. */
export const EXPORT_LOOK_AHEAD_MESSAGES_MAX = 1000;
/** Streams whose segments one export worker keeps open. */
export const EXPORT_READERS_MAX = 16;
export const EXPORT_THREAD_IDLE_MS_MAX = 60_000;
/** What a bandwidth cap keeps of the time in which nothing was sent, and how much of it one request may take. */
export const EXPORT_CAP_BATCH_MS = 1000;
/** Over which rates are weighted. */
export const EXPORT_RATE_MS = 60_000;
/** A batch that is out for longer than this, and than its bytes need at that rate, is stuck. */
export const EXPORT_STUCK_MS = 15 * 60_000;
export const EXPORT_SLOWEST_BYTES_PER_SECOND = KIB;
/** Requests of one exporter at the same time, where its options ask for more than one. */
export const EXPORT_IN_FLIGHT_DEFAULT = 1;
export const EXPORT_IN_FLIGHT_MAX = 16;
/** The least that the protocol takes; a shorter one is an option of ours. */
export const BATCH_INTERVAL_MS_MIN = 60_000;
export const FILE_EXPORT_ROTATE_BYTES_DEFAULT = 64 * MIB;
export const FILE_EXPORT_ROTATE_BYTES_MIN = 4 * KIB;
export const FILE_EXPORT_BATCH_RECORDS_MAX = 10_000;
/** Of payloads before base64, and what stands around them. */
export const FILE_EXPORT_BATCH_BYTES_MAX = 4 * MIB;
export const FILE_EXPORT_RECORD_OVERHEAD_BYTES = 384;
/** Directories in which files of one exporter may wait to be completed: it wrote there before it was configured anew. */
export const FILE_EXPORT_PLACES_MAX = 8;
/** What a destination could not do without a request is tried again. */
export const EXPORT_TEND_RETRY_MS = 10_000;
/** So long whoever removes a stream or an exporter waits for it. */
export const EXPORT_TEND_MS_MAX = 20_000;
/** Exporters that are gone whose files could not be completed, and are tried again by this process. */
export const EXPORT_ENDS_LEFT_MAX = 1000;
/** Numbers that are tried behind a name that is taken. */
export const FILE_EXPORT_NAME_TRIES_MAX = 1000;
/** One of two states of a file that grows: the largest unit that a medium writes as one. */
export const PART_STATE_BYTES = 4 * KIB;
/** Messages that go out one by one before the position is written and others have their turn. */
export const HTTP_RAW_RECORDS_MAX = 20;
export const HTTP_BATCH_RECORDS_MAX = 500;
/** Of payloads before base64, and what stands around them. */
export const HTTP_BATCH_BYTES_MAX = 4 * MIB;
/** Names of four fields, a stream's name, two numbers. */
export const HTTP_RECORD_OVERHEAD_BYTES = 384;
/** So often one task goes on with its exporter's next messages while nobody waits for its slot, and for how long. */
export const EXPORT_TASK_WINDOWS_MAX = 64;
export const EXPORT_TASK_MS_MAX = 100;

/** Credentials for a device certificate: a fetch, its answer, and how long before their end they are fetched anew. */
export const IOT_CREDENTIALS_TIMEOUT_MS = 10_000;
export const IOT_CREDENTIALS_ANSWER_BYTES_MAX = 64 * KIB;
export const IOT_CREDENTIALS_REFRESH_MS = 5 * 60_000;
/** The longest session that a role alias gives. */
export const IOT_CREDENTIALS_LIFE_MS_MAX = 12 * 3_600_000;

/** How often a stream is asked when the oldest message of an exporter was taken, where this process has not seen it arrive. */
export const INGEST_LOOK_MS = 5000;
/** How long an answer waits for that. */
export const INGEST_LOOK_WAIT_MS = 500;
/** Forecasts say never of what is further away: no rate of now lasts so long. */
export const FORECAST_HORIZON_MS = 10 * 366 * 86_400_000;
/** An exporter keeps up while no message waits for longer than this, and for its batch interval. */
export const FORECAST_KEEPING_UP_MS = 10_000;

/** Bounds of settings (config/schema.ts); their defaults stand above, in the section they belong to. */
export const PORT_DEFAULT = 8088;
export const PORT_MAX = 65_535;
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

assert(
  RING_FRAGMENT_BYTES_MAX * 4 <= RING_BYTES_DEFAULT,
  "a client's share of a ring holds at least one fragment",
);
assert(APPEND_BATCH_BYTES_MAX <= LZ4_BLOCK_RAW_BYTES_MAX, "a batch fits one LZ4 block");
assert(BLOCK_TARGET_BYTES <= LZ4_BLOCK_RAW_BYTES_MAX, "a block of target size is one LZ4 block");
assert(MESSAGE_BYTES_MAX_DEFAULT < BLOCK_RAW_BYTES_MAX, "the largest message fits a block");
