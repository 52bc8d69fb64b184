import { GROUP_BYTES, LARGE_BYTES, type SyncFigures } from "./sync-probe.ts";

/** A message of the figures in the README. */
export const MESSAGE_BYTES = 160;

/** What a disk allows, whatever the engine could do beside. */
export interface RatePromise {
  /** Appends that are each awaited, one after the other, on a stream with flushOnWrite. */
  readonly awaitedPerSecond: number;
  /** One client that sends batches and waits for each. */
  readonly batchedMessagesPerSecond: number;
  readonly batchedBytesPerSecond: number;
  /** Many batches under way: while one group is synced, the next one gathers. */
  readonly groupMessagesPerSecond: number;
  readonly groupBytesPerSecond: number;
}

/**
 * An awaited append is one small write and its sync: 1 s / p50(4 KiB). Batches of 64 KiB, each awaited: 64 KiB / p50(64 KiB).
 * Group commit: all that arrived during a sync goes with the next, so that a full group of 1 MiB costs one sync:
 * 1 MiB / p50(1 MiB). The bytes are those of the disk: what compresses three to one counts three times.
 */
export function promiseOf({ small, large, group }: SyncFigures): RatePromise {
  const batchedBytesPerSecond = (LARGE_BYTES * 1000) / large.p50;
  const groupBytesPerSecond = (GROUP_BYTES * 1000) / group.p50;
  return {
    awaitedPerSecond: 1000 / small.p50,
    batchedBytesPerSecond,
    batchedMessagesPerSecond: batchedBytesPerSecond / MESSAGE_BYTES,
    groupBytesPerSecond,
    groupMessagesPerSecond: groupBytesPerSecond / MESSAGE_BYTES,
  };
}
