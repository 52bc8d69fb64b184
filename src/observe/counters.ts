/** A metric's name without the `millrace_` in front, its kind, what it says, and the labels that tell its values apart. */
export interface MetricRow {
  readonly type: "counter" | "gauge";
  readonly help: string;
  readonly labels: readonly string[];
}

/** Every metric there is. A counter only grows while the process lives and ends in `_total`; a gauge is read at the scrape. */
export const metricRows = {
  build_info: { type: "gauge", help: "1, labelled with the version of the engine", labels: ["version"] },
  uptime_seconds: { type: "gauge", help: "Seconds since the process started", labels: [] },
  ready: { type: "gauge", help: "1 when recovered and accepting requests", labels: [] },
  degraded: { type: "gauge", help: "Things that work worse than they should", labels: [] },
  resident_memory_bytes: { type: "gauge", help: "Resident memory of the process", labels: [] },
  cpu_seconds_total: { type: "counter", help: "CPU time of the process", labels: ["mode"] },

  connections: { type: "gauge", help: "Open connections", labels: ["transport"] },
  connections_accepted_total: { type: "counter", help: "Connections accepted", labels: ["transport"] },
  connections_refused_total: { type: "counter", help: "Connections refused or cut off", labels: ["reason"] },
  authentication_failures_total: { type: "counter", help: "Refused tokens", labels: [] },
  frames_received_total: { type: "counter", help: "Frames received", labels: ["transport"] },
  frames_sent_total: { type: "counter", help: "Frames sent", labels: ["transport"] },
  received_bytes_total: { type: "counter", help: "Bytes of frames received", labels: ["transport"] },
  sent_bytes_total: { type: "counter", help: "Bytes of frames sent", labels: ["transport"] },
  paused_connections: { type: "gauge", help: "Connections that are not read at present", labels: [] },
  outbound_buffered_bytes: { type: "gauge", help: "Bytes sent that the peers have not taken", labels: [] },

  stream_messages_appended_total: { type: "counter", help: "Messages accepted", labels: ["stream"] },
  stream_bytes_appended_total: { type: "counter", help: "Payload bytes accepted", labels: ["stream"] },
  stream_oldest_sequence: { type: "gauge", help: "Oldest sequence number held", labels: ["stream"] },
  stream_newest_sequence: { type: "gauge", help: "Newest sequence number held", labels: ["stream"] },
  stream_accepted_bytes: { type: "gauge", help: "Bytes held as maxSize counts them", labels: ["stream"] },
  stream_stored_bytes: { type: "gauge", help: "Bytes of the segment files", labels: ["stream"] },
  stream_appends_refused_total: {
    type: "counter",
    help: "Appends refused",
    labels: ["stream"],
  },

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

  export_messages_total: { type: "counter", help: "Messages exported", labels: ["stream", "exporter"] },
  export_bytes_total: { type: "counter", help: "Payload bytes exported", labels: ["stream", "exporter"] },
  export_pending_messages: { type: "gauge", help: "Messages to be exported", labels: ["stream", "exporter"] },
  export_set_aside_messages: {
    type: "gauge",
    help: "Messages that the destination will not take",
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
