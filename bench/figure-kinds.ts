/** Which way a figure should go; null where it only describes the load. */
export type Better = "higher" | "lower" | null;

/** What all figures of one kind have in common. */
export interface FigureKind {
  readonly better: Better;
  /** What is said of a figure that is better than another one, and of one that is worse. */
  readonly words: readonly [better: string, worse: string];
  /** For somebody who does not know the project; follows the key. */
  readonly meaning: string;
  /** Left out of a table on a terminal. */
  readonly isDetail?: true;
}

const speed = ["faster", "slower"] as const;
const cost = ["less", "more"] as const;
const other = ["differs", "differs"] as const;

/** Every kind there is, by key: the first that matches holds. A key names its unit at its end. */
const kinds: readonly (FigureKind & { readonly matches: RegExp })[] = [
  {
    matches: /_vs_.*_p\d|_p\d+.*_vs_/,
    better: "lower",
    words: speed,
    meaning: "latency divided by that of what it is measured against, in the same run",
  },
  {
    matches: /(^|_)(cpu|rss|written|wire).*_vs_/,
    better: "lower",
    words: cost,
    meaning: "what it takes, divided by what that takes which it is measured against, in the same run",
  },
  {
    matches: /(^|_)vs_/,
    better: "higher",
    words: speed,
    meaning: "rate divided by that of what it is measured against, in the same run; 1 is as fast",
  },
  {
    matches: /^(tries_per_s|answered_refusals|messages|sealed_segments|payload_mib|records_per_request)$/,
    better: null,
    words: other,
    meaning: "how much of it there was; says what was measured, not how well",
  },
  {
    matches: /^driver_lag_/,
    better: null,
    words: other,
    meaning: "how late the load driver itself sent what was due; a latency counts it, no engine can help it",
    isDetail: true,
  },
  {
    matches: /^over_\d+_ms_share$/,
    better: "lower",
    words: other,
    meaning: "share of the messages that waited longer than that for their answer, 0 to 1",
  },
  {
    matches: /^(export_backlog_messages|export_drained_s)$/,
    better: "lower",
    words: other,
    meaning:
      "what the exporter still had to send when the last message was acknowledged, or how long that took",
  },
  {
    matches: /^messages_per_sync$/,
    better: "higher",
    words: other,
    meaning: "how many messages one sync made durable, on average of a round",
  },
  {
    matches: /^samples$/,
    better: null,
    words: other,
    meaning: "how often the memory was looked at",
    isDetail: true,
  },
  {
    matches: /^mib_per_s$/,
    better: "higher",
    words: speed,
    meaning: "payload that went through each second, in MiB; median of the rounds",
    isDetail: true,
  },
  {
    matches: /^syncs_per_s$/,
    better: null,
    words: other,
    meaning:
      "how often the data was made durable each second: more may be a faster disk or fewer messages a sync",
  },
  {
    matches: /_per_s$/,
    better: "higher",
    words: speed,
    meaning: "how many each second; median of the rounds",
  },
  {
    matches: /^p\d+_ns$/,
    better: "lower",
    words: speed,
    meaning: "time of one operation that so many percent of the runs did not exceed; median of the rounds",
  },
  {
    matches: /^endpoint_cpu_s$/,
    better: "lower",
    words: cost,
    meaning: "CPU-seconds of the process that stands for the destination",
    isDetail: true,
  },
  {
    matches: /_(p99_99|max)_[mun]s$/,
    better: "lower",
    words: speed,
    meaning: "far end of the tail of the same time; few waits decide it, so it is noisy",
    isDetail: true,
  },
  {
    matches: /(^|_)p\d+(_\d+)?_[mun]s$/,
    better: "lower",
    words: speed,
    meaning:
      "time that so many percent of all did not exceed (p99_9: 99.9 %), from sending to the answer (ack, append) or to the arrival (push)",
  },
  {
    matches: /_share$/,
    better: "lower",
    words: cost,
    meaning: "part of all, from 0 to 1, that the key names",
  },
  { matches: /_(s|ms|us|ns)$/, better: "lower", words: speed, meaning: "a time; the unit ends the key" },
  {
    matches: /^(engine|driver|endpoint)_cpu_s_per_gb$/,
    better: "lower",
    words: cost,
    meaning: "CPU-seconds of that one process for each GB of payload",
    isDetail: true,
  },
  {
    matches: /^sender_cpu_s_per_gb$/,
    better: "lower",
    words: cost,
    meaning: "CPU-seconds of the process that sends, the engine or the SDK's program, for each GB of payload",
  },
  {
    matches: /cpu_s_per_gb$/,
    better: "lower",
    words: cost,
    meaning:
      "CPU-seconds of all threads, kernel included, for each GB of payload; engine and load driver together",
  },
  {
    matches: /cpu_us_per_/,
    better: "lower",
    words: cost,
    meaning: "CPU time of all threads, kernel included, for each one",
  },
  {
    matches: /^rewritten_per_payload_byte$/,
    better: "lower",
    words: cost,
    meaning: "bytes of segments that were written a second time for each byte of payload",
  },
  {
    matches: /^written_per_payload_byte$/,
    better: "lower",
    words: cost,
    meaning: "bytes that the stream's log wrote for each byte of payload, rewrites left out",
  },
  {
    matches: /^written_per_accepted_byte$/,
    better: "lower",
    words: cost,
    meaning: "bytes that the kernel was made to write to storage for each byte of payload",
    isDetail: true,
  },
  {
    matches: /^wire_bytes_per_accepted_byte$/,
    better: "lower",
    words: cost,
    meaning: "bytes that the producer sent for each byte of payload",
  },
  {
    matches: /_per_(accepted|payload)_byte$/,
    better: "lower",
    words: cost,
    meaning: "bytes on disk for each byte of payload; below 1 because blocks are compressed",
  },
  {
    matches: /^write_amplification$/,
    better: "lower",
    words: cost,
    meaning: "bytes written to the file system, rewrites included, for each byte of payload",
  },
  {
    matches: /^added_rss_mib$/,
    better: "lower",
    words: cost,
    meaning: "resident memory of the engine's process behind an export beyond that before the first, in MiB",
  },
  {
    matches: /^rss_(min|median|max|end)_mib$/,
    better: "lower",
    words: cost,
    meaning:
      "resident memory of the engine's process in samples over time, in MiB: least, middle, most, last",
  },
  {
    matches: /^rss_mib$/,
    better: "lower",
    words: cost,
    meaning:
      "resident memory of the server's process, in MiB: of appends at its peak, of a replay the most behind a round, idle and behind a start as it then is",
  },
  {
    matches: /_mib$|kib_per_/,
    better: "lower",
    words: cost,
    meaning: "memory, in MiB or KiB as the key says",
  },
  {
    matches: /^checksum$/,
    better: null,
    words: other,
    meaning: "depends on all that was computed: the same on every machine",
    isDetail: true,
  },
];

const unknown: FigureKind = { better: null, words: other, meaning: "no direction is known for it" };

export function figureKind(key: string): FigureKind {
  return kinds.find(({ matches }) => matches.test(key)) ?? unknown;
}

/** Whether a figure is a ratio of two of one run, which a change of the machine moves least. */
export function isRatioKey(key: string): boolean {
  return /(^|_)vs_/.test(key);
}

/** A figure as people read it: thousands are set apart, `-` stands for none. */
export function formatFigure(value: string | number | null): string {
  if (value === null) return "-";
  if (typeof value === "string") return value;
  if (Math.abs(value) >= 1000) return Math.round(value).toLocaleString("en-US");
  return String(Number(value.toPrecision(4)));
}
