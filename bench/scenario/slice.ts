import type { LatencyHistogram } from "../latency-histogram.ts";
import type { ThreadTimes } from "./process-stats.ts";

/** One uninterrupted measurement of a case. */
export interface Slice {
  readonly elapsedS: number;
  readonly messageCount: number;
  readonly payloadBytes: number;
  /** Microseconds from the send to the acknowledgement; empty where nothing is acknowledged. */
  readonly latencies: LatencyHistogram;
  /** Bytes of the frames that were sent, where they are counted. */
  readonly sentBytes?: number;
}

/** A slice and what it cost. */
export interface CostedSlice extends Slice {
  /** User and system time of the server's process and of this one. */
  readonly serverCpuS: number;
  readonly driverCpuS: number;
  /** The server's time by thread. */
  readonly threads: ThreadTimes;
  /** Undefined where the system does not tell. */
  readonly writtenBytes: number | undefined;
}

/** What can be said of a case once it is over. */
export interface CaseEnd {
  readonly rssMib: number;
  readonly bytesPerAcceptedByte: number | null;
}

/** A case with its server and connection. */
export interface RunningCase {
  measure(seconds: number): Promise<CostedSlice>;
  /** Checks that the server has what it acknowledged, and stops it. */
  finish(): Promise<CaseEnd>;
  /** After a failure: leaves nothing running. */
  abandon(): Promise<void>;
}

export interface ScenarioCase {
  readonly name: string;
  readonly start: () => Promise<RunningCase>;
}
