import { MESSAGE_OVERHEAD_BYTES } from "../../src/core/limits.ts";
import { StrategyOnFull } from "../../src/core/stream-definition.ts";
import { BlockBuilder } from "../../src/log/block-builder.ts";
import type { LogSlice } from "../../src/log/decoded-block.ts";
import { parseSegmentName } from "../../src/log/segment-layout.ts";
import type { Storage } from "../../src/log/storage.ts";
import type { LogPolicy } from "../../src/log/log-policy.ts";
import type { TimeMark } from "../../src/log/stream-clock.ts";
import type { StreamLog } from "../../src/log/stream-log.ts";
import type { StreamLogOptions } from "../../src/log/stream-log-options.ts";
import { ManualClock, SeededRandom } from "./deterministic.ts";
import { type Fault, SimStorage } from "./sim-storage.ts";

export const STREAM_ID = "5eed".repeat(8);
export const STREAM_DIRECTORY = "/store/stream";

export const smallPolicy: LogPolicy = {
  maxSize: 1_000_000,
  segmentSize: 6000,
  strategyOnFull: StrategyOnFull.RejectNewData,
  flushOnWrite: true,
  commitAlignBytes: 4096,
  syncBytesMax: 100_000,
};

/** The time at the start of a stream, of a clock that has proven itself. */
export const startTime: TimeMark = {
  stampMs: 1_700_000_000_000,
  clockEra: 0,
  ageMs: 0,
  runMs: 0,
  isAgeProven: true,
  isStampProven: true,
};

/** With the directory that streams are made in. */
export function newStorage(faults: Readonly<Record<string, Fault>> = {}): SimStorage {
  const storage = new SimStorage({ faults: new Map(Object.entries(faults)) });
  storage.makeDirectory("/store");
  storage.syncDirectory("/");
  return storage;
}

/** Those of the stream, in the order of their places; without what is being made. */
export function segmentNames(storage: Storage): string[] {
  const names = storage.list(STREAM_DIRECTORY).map(({ name }) => name);
  return names.filter((name) => parseSegmentName(name) !== undefined).sort();
}

export function logOptions(
  storage: Storage,
  overrides: Partial<StreamLogOptions> & { readonly policy?: LogPolicy } = {},
): StreamLogOptions {
  return {
    storage,
    directory: STREAM_DIRECTORY,
    streamId: STREAM_ID,
    epoch: 1,
    clock: new ManualClock(),
    random: new SeededRandom(7),
    policy: smallPolicy,
    ...overrides,
  };
}

/** `messages` as one batch. */
export function addBatch(
  builder: BlockBuilder,
  messages: readonly string[],
  options: { readonly ingestMs?: number; readonly producer?: { id: number; sequence: number } } = {},
): void {
  const parts: Buffer[] = [];
  let payloadBytes = 0;
  for (const message of messages) {
    const payload = Buffer.from(message, "latin1");
    const length = Buffer.alloc(4);
    length.writeUInt32LE(payload.length);
    parts.push(length, payload);
    payloadBytes += payload.length;
  }
  const source = Buffer.concat(parts);
  const { ingestMs = 1_700_000_000_000, producer } = options;
  builder.add({
    source,
    start: 0,
    end: source.length,
    messageCount: messages.length,
    payloadBytes,
    ingestMs,
    producer,
  });
}

export function blockOf(messages: readonly string[], ingestMs?: number): BlockBuilder {
  const builder = new BlockBuilder(4096);
  addBatch(builder, messages, ingestMs === undefined ? {} : { ingestMs });
  return builder;
}

/** Rewrites whatever is due, with the syncs that it starts. */
export function rewriteAll(log: StreamLog, storage: SimStorage): void {
  for (let slices = 0; ; slices++) {
    const slice = log.rewrites?.slice(() => undefined) ?? "idle";
    if (slice === "idle") return;
    if (slice === "waiting") storage.completeSyncs();
    if (slices > 100_000) throw new Error("rewriting does not end");
  }
}

export function costOf(builder: BlockBuilder): number {
  return builder.payloadBytes + MESSAGE_OVERHEAD_BYTES * builder.messageCount;
}

/** The messages of a slice, as text. */
export function unpack(slice: LogSlice): string[] {
  if (slice.kind === "gap") return [];
  const raw = Buffer.from(slice.raw);
  const messages: string[] = [];
  for (let at = 0; at < raw.length;) {
    const length = raw.readUInt32LE(at);
    messages.push(raw.toString("latin1", at + 4, at + 4 + length));
    at += 4 + length;
  }
  return messages;
}

export interface Readable {
  read(request: {
    fromSequence: number;
    endSequence: number;
    messageCountMax: number;
    bytesMax: number;
  }): LogSlice[];
}

/** Everything in [from, end): messages by sequence number, and the gaps. */
export function readAll(
  log: Readable,
  fromSequence: number,
  endSequence: number,
  chunk = { messageCountMax: 1000, bytesMax: 1_000_000 },
): { readonly messages: Map<number, string>; readonly gaps: { from: number; to: number; reason: string }[] } {
  const messages = new Map<number, string>();
  const gaps: { from: number; to: number; reason: string }[] = [];
  let sequence = fromSequence;
  while (sequence < endSequence) {
    const before = sequence;
    for (const slice of log.read({ fromSequence: sequence, endSequence, ...chunk })) {
      if (slice.kind === "gap") {
        gaps.push({ from: slice.fromSequence, to: slice.toSequence, reason: slice.reason });
        sequence = slice.toSequence;
        continue;
      }
      for (const [offset, message] of unpack(slice).entries())
        messages.set(slice.firstSequence + offset, message);
      sequence = slice.firstSequence + slice.messageCount;
    }
    if (sequence === before) throw new Error(`read at ${sequence} of ${endSequence} gave nothing`);
  }
  return { messages, gaps };
}
