import { parseSegmentName } from "../../src/log/segment-layout.ts";
import { StreamLog } from "../../src/log/stream-log.ts";
import type { StreamLogOptions } from "../../src/log/stream-log-options.ts";
import type { LossReason } from "../../src/core/stream-ledger.ts";
import { dataBlocks, segmentPaths } from "../support/log-blocks.ts";
import { blockOf, logOptions, smallPolicy } from "../support/log-fixture.ts";
import { SimStorage } from "../support/sim-storage.ts";

/** Blocks next to each other, several in a segment. */
export const policy = { ...smallPolicy, segmentSize: 5000, commitAlignBytes: 0 };

export function message(sequence: number): string {
  return `message ${sequence} ${"x".repeat((sequence * 37) % 400)}`;
}

/** So many blocks of three messages, each durable before the next. */
export function append(log: StreamLog, storage: SimStorage, blocks: number): void {
  for (let block = 0; block < blocks; block++) {
    const first = log.nextSequence;
    log.append(blockOf([message(first), message(first + 1), message(first + 2)]));
    log.sync(() => undefined);
    storage.completeSyncs();
  }
}

/** Several complete segments and one of a few blocks that grows, all of it durable; nobody closed it. */
export function makeStore(): SimStorage {
  const storage = new SimStorage();
  storage.makeDirectory("/store");
  const log = StreamLog.create(logOptions(storage, { policy }));
  append(log, storage, 25);
  while (dataBlocks(storage, segmentPaths(storage).at(-1)!).length !== 4) append(log, storage, 1);
  return storage;
}

export function open(
  storage: SimStorage,
  overrides: Partial<StreamLogOptions> = {},
): ReturnType<typeof StreamLog.open> {
  return StreamLog.open(logOptions(storage, { epoch: 2, policy, ...overrides }));
}

/** The first number of a segment, as its name says. */
export function baseOf(filePath: string): number {
  return parseSegmentName(filePath.slice(-29))!.baseSequence;
}

/** What the ledger says of a loss. */
export type Range = [reason: LossReason, fromSequence: number, toSequence: number];

export function damageOf(log: StreamLog): Range[] {
  return log.ledger.snapshot.damage.map((loss) => [loss.reason, loss.fromSequence, loss.toSequence]);
}
