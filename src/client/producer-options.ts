import { CLIENT_COMPRESSED_BATCH_BYTES_DEFAULT } from "../core/compression-limits.ts";
import { MillraceError } from "../core/errors.ts";
import {
  APPEND_BATCH_BYTES_MAX,
  CLIENT_BATCH_BYTES_DEFAULT,
  CLIENT_IN_FLIGHT_BATCHES_DEFAULT,
  CLIENT_IN_FLIGHT_BATCHES_MAX,
} from "../core/limits.ts";

export interface ProducerOptions {
  /**
   * Messages are gathered up to this many bytes, 4 for each length included: 64 to 1 MiB. 64 KiB by default, 256 KiB with
   * `compression`.
   */
  readonly batchBytes?: number;
  /** How long a batch that is not full waits for more; 0 sends it at the end of the current turn. 2 by default. */
  readonly lingerMs?: number;
  /** Batches that may be on their way unanswered, 1 to 64, 16 by default; the bytes on their way are bounded as well, to 4 MiB. */
  readonly inFlightMax?: number;
  /**
   * "lz4" compresses batches before they are sent, in Node.js only, and needs the package lz4-napi. What does not shrink is sent
   * as it is, and to an engine on the same machine what has less than 48 KiB. "none" by default.
   */
  readonly compression?: Compression;
  /**
   * Told of messages that the engine has refused for good and for which no promise waits. Without it the first refusal stops
   * the producer: the next `append` or `flush` throws it.
   */
  readonly onRejected?: (rejection: Rejection) => void;
}

export type Compression = "none" | "lz4";

export interface Rejection {
  readonly error: MillraceError;
  /** In order; the producer keeps no reference to them. */
  readonly messages: readonly Uint8Array[];
  /** A copy of them was sent of which nobody has told whether it was stored; else they are not stored. */
  readonly mayBeStored: boolean;
}

/** What a producer has done so far, in messages. */
export interface ProducerCounters {
  readonly appended: number;
  readonly acknowledged: number;
  readonly rejected: number;
  /** Messages sent more than once, because their outcome was unknown or others before them had failed; stored they are once. */
  readonly resent: number;
  /** Batches, not messages. */
  readonly batches: number;
  /** Bytes of the frames of all batches sent, compressed where they were. */
  readonly sentBytes: number;
}

const BATCH_BYTES_MIN = 64;
const LINGER_MS_DEFAULT = 2;
const LINGER_MS_MAX = 60_000;

/** Options with their defaults. @throws {MillraceError} INVALID_SETTING */
export function checkProducerOptions(
  options: ProducerOptions,
): Required<Omit<ProducerOptions, "onRejected">> {
  const compression: unknown = options.compression ?? "none";
  if (compression !== "none" && compression !== "lz4") {
    const text = `Cannot make producer: compression is ${JSON.stringify(compression)}, must be "none" or "lz4"`;
    throw new MillraceError("INVALID_SETTING", text);
  }
  const isPlain = compression === "none";
  const batchBytes =
    options.batchBytes ?? (isPlain ? CLIENT_BATCH_BYTES_DEFAULT : CLIENT_COMPRESSED_BATCH_BYTES_DEFAULT);
  const lingerMs = options.lingerMs ?? LINGER_MS_DEFAULT;
  const inFlightMax = options.inFlightMax ?? CLIENT_IN_FLIGHT_BATCHES_DEFAULT;
  checkRange("batchBytes", batchBytes, { min: BATCH_BYTES_MIN, max: APPEND_BATCH_BYTES_MAX });
  checkRange("lingerMs", lingerMs, { min: 0, max: LINGER_MS_MAX });
  checkRange("inFlightMax", inFlightMax, { min: 1, max: CLIENT_IN_FLIGHT_BATCHES_MAX });
  return { batchBytes, lingerMs, inFlightMax, compression };
}

function checkRange(name: string, value: number, { min, max }: { min: number; max: number }): void {
  if (value >= min && value <= max) return;
  const text = `Cannot make producer: ${name} is ${value}, must be ${min} to ${max}`;
  throw new MillraceError("INVALID_SETTING", text);
}
