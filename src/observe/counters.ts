/** A metric's name without the `millrace_` in front, its kind, what it says, and the labels that tell its values apart. */
export interface MetricRow {
  readonly type: "counter" | "gauge";
  readonly help: string;
  readonly labels: readonly string[];
}

/** Every metric there is. A counter only grows while the process lives and ends in `_total`; a gauge is read at the scrape. */
export const metricRows = {
  build_info: { type: "gauge", help: "1, labelled with the version of the engine", labels: ["version"] },
  native_bindings: { type: "gauge", help: "1 when the native addon is in use", labels: [] },
  uptime_seconds: { type: "gauge", help: "Seconds since the process started", labels: [] },
  ready: { type: "gauge", help: "1 when recovered and accepting requests", labels: [] },
  ballast_bytes: { type: "gauge", help: "Room kept for small files on a full disk", labels: [] },
  degraded: { type: "gauge", help: "Things that work worse than they should", labels: [] },
  resident_memory_bytes: { type: "gauge", help: "Resident memory of the process", labels: [] },
  cpu_seconds_total: { type: "counter", help: "CPU time of the process", labels: ["mode"] },

  connections: { type: "gauge", help: "Open connections", labels: ["transport"] },
  connections_accepted_total: { type: "counter", help: "Connections accepted", labels: ["transport"] },
  connections_refused_total: { type: "counter", help: "Connections refused or cut off", labels: ["reason"] },
  authentication_failures_total: { type: "counter", help: "Refused tokens", labels: [] },
  tls_certificate_not_after_seconds: {
    type: "gauge",
    help: "Unix time at which the certificate expires",
    labels: [],
  },
  named_tokens: { type: "gauge", help: "Tokens beside the owner's", labels: [] },
  unreadable_tokens: { type: "gauge", help: "Token files that cannot be read or trusted", labels: [] },
  frames_received_total: { type: "counter", help: "Frames received", labels: ["transport"] },
  frames_sent_total: { type: "counter", help: "Frames sent", labels: ["transport"] },
  received_bytes_total: { type: "counter", help: "Bytes of frames received", labels: ["transport"] },
  sent_bytes_total: { type: "counter", help: "Bytes of frames sent", labels: ["transport"] },
  paused_connections: { type: "gauge", help: "Connections that are not read at present", labels: [] },
  open_descriptors: {
    type: "gauge",
    help: "Descriptors that were open when they were counted last",
    labels: [],
  },
  descriptors_max: { type: "gauge", help: "Descriptors that the process may have open", labels: [] },
  outbound_buffered_bytes: { type: "gauge", help: "Bytes sent that the peers have not taken", labels: [] },

  stream_messages_appended_total: { type: "counter", help: "Messages accepted", labels: ["stream"] },
  stream_messages_repeated_total: {
    type: "counter",
    help: "Messages that a producer sent again and that were stored already",
    labels: ["stream"],
  },
  stream_bytes_appended_total: { type: "counter", help: "Payload bytes accepted", labels: ["stream"] },
  stream_oldest_sequence: { type: "gauge", help: "Oldest sequence number held", labels: ["stream"] },
  stream_newest_sequence: { type: "gauge", help: "Newest sequence number held", labels: ["stream"] },
  stream_accepted_bytes: { type: "gauge", help: "Bytes held as maxSize counts them", labels: ["stream"] },
  stream_stored_bytes: { type: "gauge", help: "Bytes of the segment files", labels: ["stream"] },
  stream_disk_short: {
    type: "gauge",
    help: "1 while the disk has less free than is to be kept free, so that the stream is full",
    labels: ["stream"],
  },
  stream_written_bytes_total: {
    type: "counter",
    help: "Bytes written to segments as messages came, since the stream was opened",
    labels: ["stream"],
  },
  stream_rewritten_bytes_total: {
    type: "counter",
    help: "Bytes written again in full-size blocks, since the stream was opened",
    labels: ["stream"],
  },
  stream_syncs_total: {
    type: "counter",
    help: "Times that messages were made durable, since the stream was opened; one sync covers all that wait for it",
    labels: ["stream"],
  },
  stream_rewrite_failures_total: {
    type: "counter",
    help: "Rewrites of complete segments that failed, since the stream was opened; describe says why the last one did",
    labels: ["stream"],
  },
  stream_synced_sequence: {
    type: "gauge",
    help: "Newest sequence number that a power cut does not take",
    labels: ["stream"],
  },
  stream_unsynced_bytes: {
    type: "gauge",
    help: "Stored bytes that a power cut would take",
    labels: ["stream"],
  },
  stream_ledger_messages: {
    type: "gauge",
    help: "Messages ever appended, by where they are now",
    labels: ["stream", "account"],
  },
  stream_ledger_payload_bytes: {
    type: "gauge",
    help: "Payload bytes ever appended, by where they are now",
    labels: ["stream", "account"],
  },
  stream_damaged_messages: {
    type: "gauge",
    help: "Messages behind the oldest one that cannot be read",
    labels: ["stream", "reason"],
  },
  stream_torn_tail_bytes_total: {
    type: "counter",
    help: "Bytes that recovery cut off since the engine began: a write that a crash interrupted",
    labels: ["stream"],
  },
  stream_quarantined_total: {
    type: "counter",
    help: "Pieces of damaged files that recovery has kept since the engine began",
    labels: ["stream"],
  },
  stream_state: { type: "gauge", help: "1 for the state that the stream is in", labels: ["stream", "state"] },
  stream_appends_refused_total: {
    type: "counter",
    help: "Appends refused",
    labels: ["stream"],
  },

  stream_append_messages_per_second: {
    type: "gauge",
    help: "Messages appended in a second, of late: over about a minute",
    labels: ["stream"],
  },
  stream_append_bytes_per_second: { type: "gauge", help: "Their payload bytes", labels: ["stream"] },
  stream_full_in_seconds: {
    type: "gauge",
    help: "When a stream that rejects new data is full, if it goes on like this; +Inf is never",
    labels: ["stream"],
  },

  sync_interval_seconds: {
    type: "gauge",
    help: "Longest time a stream without flushOnWrite goes without a sync",
    labels: [],
  },
  sync_limit_bytes: {
    type: "gauge",
    help: "Most stored bytes without a sync, of one stream without flushOnWrite and of all streams of a worker",
    labels: ["scope"],
  },

  memory_streams_bytes: { type: "gauge", help: "Memory that streams in memory take together", labels: [] },
  memory_streams_max_bytes: { type: "gauge", help: "Memory that they may take together", labels: [] },
  worker_restarts_total: { type: "counter", help: "Stream workers restarted", labels: ["worker"] },
  ring_used_bytes: { type: "gauge", help: "Bytes waiting in a ring", labels: ["worker", "direction"] },
  ring_capacity_bytes: { type: "gauge", help: "Size of a ring", labels: ["worker", "direction"] },
  ring_stalls_total: {
    type: "counter",
    help: "Times a writer found its ring full",
    labels: ["worker", "direction"],
  },
  ring_wakeups_total: {
    type: "counter",
    help: "Times a parked reader was woken",
    labels: ["worker", "direction"],
  },

  export_messages_total: {
    type: "counter",
    help: "Where messages went: exported, setAside, overwritten, expired, deleted, damaged, skipped; rewound ones go again",
    labels: ["stream", "exporter", "account"],
  },
  export_bytes_total: {
    type: "counter",
    help: "The same in payload bytes",
    labels: ["stream", "exporter", "account"],
  },
  export_notices_dropped_total: {
    type: "counter",
    help: "Status messages of exporters that no stream has taken",
    labels: [],
  },
  export_durable_sequence: {
    type: "gauge",
    help: "Newest sequence number that the exporter does not need again, whatever happens",
    labels: ["stream", "exporter"],
  },
  export_pending_messages: {
    type: "gauge",
    help: "Messages that no account has yet",
    labels: ["stream", "exporter"],
  },
  export_pending_bytes: { type: "gauge", help: "Their payload bytes", labels: ["stream", "exporter"] },
  export_oldest_pending_age_seconds: {
    type: "gauge",
    help: "How long the oldest of them has waited; 0 where there is none",
    labels: ["stream", "exporter"],
  },
  export_state: {
    type: "gauge",
    help: "1 for what the exporter does or waits for",
    labels: ["stream", "exporter", "state"],
  },
  export_messages_per_second: {
    type: "gauge",
    help: "Messages accepted in a second, of late: over about a minute",
    labels: ["stream", "exporter"],
  },
  export_bytes_per_second: { type: "gauge", help: "Their payload bytes", labels: ["stream", "exporter"] },
  export_last_success_timestamp_seconds: {
    type: "gauge",
    help: "Unix time at which messages were last accepted",
    labels: ["stream", "exporter"],
  },
  export_last_error_timestamp_seconds: {
    type: "gauge",
    help: "Unix time of the last failure since the engine began",
    labels: ["stream", "exporter"],
  },
  export_next_try_timestamp_seconds: {
    type: "gauge",
    help: "Unix time at which the exporter may start next, where time alone holds it",
    labels: ["stream", "exporter"],
  },
  export_loss_in_seconds: {
    type: "gauge",
    help: "When messages that were not exported begin to be overwritten or to expire, if it goes on like this; +Inf is never",
    labels: ["stream", "exporter"],
  },
  export_drained_in_seconds: {
    type: "gauge",
    help: "When all that is pending is exported, if it goes on like this; +Inf is never",
    labels: ["stream", "exporter"],
  },
  export_ahead_of_log_messages: {
    type: "gauge",
    help: "Messages that were settled and that the log has lost",
    labels: ["stream", "exporter"],
  },
} as const satisfies Record<string, MetricRow>;

export type MetricName = keyof typeof metricRows;

/** One value at the time of a scrape. Labels not named in the metric's row are a bug. */
export interface MetricSample {
  readonly name: MetricName;
  readonly value: number;
  readonly labels?: Readonly<Record<string, string>>;
}

/** Declared by whoever has figures. Called at each scrape: it must be cheap and read what is counted anyway. */
export type MetricProvider = () => Iterable<MetricSample>;
