import { STREAM_START } from "../../src/core/stream-ledger.ts";
import { Persistence, StrategyOnFull, type StreamDefinition } from "../../src/core/stream-definition.ts";
import { type MillraceError, SequenceGapError } from "../../src/core/errors.ts";
import { type StreamOptions, streamOptionsDefault } from "../../src/core/stream-options.ts";
import type { LedgerChange } from "../../src/core/stream-ledger.ts";
import { SharedMemoryStorage, type SharedFile } from "../../src/log/shared-memory-storage.ts";
import type { Storage } from "../../src/log/storage.ts";
import { Doorbell } from "../../src/ring/doorbell.ts";
import { allocateRing } from "../../src/ring/ring-layout.ts";
import { RingReader } from "../../src/ring/ring-reader.ts";
import { RingSender } from "../../src/ring/ring-sender.ts";
import { RingWriter } from "../../src/ring/ring-writer.ts";
import { decodeGap, decodeRecords } from "../../src/stream/records-decoder.ts";
import { HandledSlot } from "../../src/stream/handled-slot.ts";
import { StreamAgent } from "../../src/stream/stream-agent.ts";
import {
  APPENDED_ENTRY_BYTES,
  APPENDED_FLAG_REPEAT,
  APPENDED_HEAD_BYTES,
  APPEND_FLAG_PRODUCER,
  APPEND_HEAD_BYTES,
  APPEND_PRODUCER_BYTES,
  type ControlReply,
  type ControlRequest,
  DownRecord,
  READ_BYTES,
  SUBSCRIBE_BYTES,
  type StreamProgress,
  UpRecord,
  decodeFailed,
  decodeLoss,
  decodeProgress,
} from "../../src/stream/stream-channel.ts";
import { ManualClock, SeededRandom } from "../support/deterministic.ts";
import { SimStorage } from "../support/sim-storage.ts";
import { definitionWith } from "../support/stream-fixture.ts";

/** What came up the ring, in order. */
export type UpEvent =
  | {
      readonly kind: "appended";
      readonly token: number;
      readonly firstSequence: number;
      readonly isRepeat?: true;
    }
  | {
      readonly kind: "failed";
      readonly token: number;
      readonly code: MillraceError["code"];
      readonly text: string;
      /** Of a gap. */
      readonly expectedSequence?: number;
    }
  | {
      readonly kind: "records";
      readonly token: number;
      readonly isLast: boolean;
      readonly firstSequence: number;
      readonly durableEnd: number;
      readonly payloads: readonly string[];
    }
  | {
      readonly kind: "gap";
      readonly token: number;
      readonly fromSequence: number;
      readonly toSequence: number;
    }
  | { readonly kind: "progress"; readonly slot: number; readonly progress: StreamProgress }
  | { readonly kind: "loss"; readonly slot: number; readonly change: LedgerChange };

export function streamDefinition(changes: Partial<StreamDefinition> = {}): StreamDefinition {
  return {
    name: "raw",
    maxSize: 1024 * 1024,
    streamSegmentSize: 64 * 1024,
    strategyOnFull: StrategyOnFull.RejectNewData,
    persistence: Persistence.File,
    flushOnWrite: false,
    exportDefinition: definitionWith([]).exportDefinition,
    ...changes,
  };
}

/** Messages as a batch frames them. */
export function framed(messages: readonly string[]): Buffer {
  return Buffer.concat(
    messages.flatMap((message) => {
      const payload = Buffer.from(message, "latin1");
      const length = Buffer.alloc(4);
      length.writeUInt32LE(payload.length);
      return [length, payload];
    }),
  );
}

/** A stream agent without a thread: the test writes its ring, calls `doWork`, and reads what came up. */
export class AgentFixture {
  readonly agent: StreamAgent;
  readonly clock = new ManualClock();
  readonly storage: SimStorage;
  readonly replies: ControlReply[] = [];
  readonly #down: RingSender;
  readonly #up: RingReader;
  #nextId = 1;

  constructor(
    options: {
      storage?: SimStorage;
      blockBytes?: number;
      ringBytes?: number;
      syncBytes?: number;
      epoch?: number;
      commitAlignBytes?: number;
      /** What stands between the agent and its storage. */
      wrap?: (storage: SimStorage) => Storage;
      memoryStorage?: (files: readonly SharedFile[]) => Storage;
    } = {},
  ) {
    const { ringBytes = 64 * 1024, blockBytes = 16 * 1024, syncBytes = 64 * 1024 } = options;
    const { epoch = 1, commitAlignBytes = 0 } = options;
    this.storage = options.storage ?? emptyStore();
    const downRing = allocateRing(ringBytes);
    const upRing = allocateRing(ringBytes);
    this.#down = new RingSender(new RingWriter(downRing, new Doorbell()));
    this.#up = new RingReader(upRing, new Doorbell());
    this.agent = new StreamAgent({
      down: new RingReader(downRing, new Doorbell()),
      up: new RingSender(new RingWriter(upRing, new Doorbell())),
      wakeMain: () => undefined,
      handledSlot: new HandledSlot(),
      reply: (message) => void this.replies.push(message),
      storage: options.wrap?.(this.storage) ?? this.storage,
      memoryStorage: options.memoryStorage ?? ((files) => new SharedMemoryStorage({ files })),
      clock: this.clock,
      random: new SeededRandom(1),
      settings: {
        storeDirectory: "/store",
        epoch,
        blockBytes,
        syncIntervalMs: 1000,
        syncBytes,
        commitAlignBytes,
        diskFreeMinBytes: 0,
        memoryStreamBytesMax: 2 ** 30,
      },
    });
  }

  control(request: DistributiveOmit<ControlRequest, "id">): ControlReply {
    const id = this.#nextId++;
    this.agent.onControl({ ...request, id });
    const answer = this.replies.find((reply) => "id" in reply && reply.id === id);
    if (answer === undefined) throw new Error("no answer yet");
    return answer;
  }

  open(
    slot: number,
    changes: Partial<StreamDefinition> = {},
    { create = true, isEndUnclean = false } = {},
  ): ControlReply {
    const streamId = String(slot).padStart(32, "0");
    const directory = directoryOf(slot);
    const definition = streamDefinition(changes);
    return this.control({
      kind: "open",
      slot,
      streamId,
      directory,
      definition,
      options: streamOptionsDefault,
      create,
      memory: [],
      knownEnd: STREAM_START,
      isEndUnclean,
    });
  }

  update(
    slot: number,
    changes: Partial<StreamDefinition>,
    options: StreamOptions = streamOptionsDefault,
  ): ControlReply {
    return this.control({ kind: "update", slot, definition: streamDefinition(changes), options });
  }

  /** Ends the agent as a clean stop does. */
  close(): void {
    const replied = this.replies.length;
    this.agent.onControl({ kind: "close", id: this.#nextId++ });
    for (let turn = 0; turn < 100 && !this.agent.isClosed; turn++) {
      this.storage.completeSyncs();
      this.work();
    }
    const reply = this.replies[replied];
    if (reply?.kind !== "done") throw new Error(`closing was answered ${JSON.stringify(reply)}`);
  }

  append(
    token: number,
    slot: number,
    batch: {
      messages?: readonly string[];
      bytes?: Uint8Array;
      flags?: number;
      rawBytes?: number;
      count?: number;
      producer?: { id: number; sequence: number };
    },
  ): void {
    const bytes = batch.bytes ?? framed(batch.messages ?? []);
    const { producer } = batch;
    const flags = (batch.flags ?? 0) | (producer === undefined ? 0 : APPEND_FLAG_PRODUCER);
    const head = Buffer.alloc(APPEND_HEAD_BYTES + (producer === undefined ? 0 : APPEND_PRODUCER_BYTES));
    head.writeUInt32LE(token, 0);
    head.writeUInt32LE(slot, 4);
    head.writeUInt32LE(flags, 8);
    head.writeUInt32LE(batch.rawBytes ?? bytes.length, 12);
    head.writeUInt32LE(batch.count ?? batch.messages?.length ?? 0, 16);
    if (producer !== undefined) {
      head.writeDoubleLE(producer.id, APPEND_HEAD_BYTES);
      head.writeDoubleLE(producer.sequence, APPEND_HEAD_BYTES + 8);
    }
    this.#down.send(DownRecord.Append, head, bytes);
  }

  read(
    token: number,
    slot: number,
    what: { from?: number; min?: number; max?: number; bytesMax?: number; timeoutMs?: number } = {},
  ): void {
    const record = Buffer.alloc(READ_BYTES);
    record.writeUInt32LE(token, 0);
    record.writeUInt32LE(slot, 4);
    record.writeDoubleLE(what.from ?? 0, 8);
    record.writeUInt32LE(what.min ?? 1, 16);
    record.writeUInt32LE(what.max ?? what.min ?? 1, 20);
    record.writeUInt32LE(what.bytesMax ?? 1024 * 1024, 24);
    record.writeUInt32LE(what.timeoutMs ?? 0, 28);
    this.#down.send(DownRecord.Read, record);
  }

  subscribe(token: number, slot: number, what: { from: number; creditBytes: number }): void {
    const record = Buffer.alloc(SUBSCRIBE_BYTES);
    record.writeUInt32LE(token, 0);
    record.writeUInt32LE(slot, 4);
    record.writeDoubleLE(what.from, 8);
    record.writeUInt32LE(what.creditBytes, 16);
    this.#down.send(DownRecord.Subscribe, record);
  }

  credit(token: number, bytes: number): void {
    const record = Buffer.alloc(8);
    record.writeUInt32LE(token, 0);
    record.writeUInt32LE(bytes, 4);
    this.#down.send(DownRecord.Credit, record);
  }

  cancel(token: number): void {
    const record = Buffer.alloc(8);
    record.writeUInt32LE(token, 0);
    this.#down.send(DownRecord.Cancel, record);
  }

  /** Works until there is nothing to do at once, with syncs left pending. @returns what came up */
  work(): UpEvent[] {
    const events: UpEvent[] = [];
    for (let turn = 0; turn < 1000; turn++) {
      const isBusy = this.agent.doWork();
      const hadUp = !this.#up.isEmpty;
      events.push(...this.takeUp());
      this.#down.flush();
      if (this.agent.isClosed && !hadUp) return events;
      if (!isBusy && !hadUp && !this.agent.hasInput() && this.#down.isClear) return events;
    }
    throw new Error("the agent does not come to rest");
  }

  /** The outcomes of `work` alone. */
  outcomes(): Exclude<UpEvent, { kind: "progress" | "loss" }>[] {
    return this.work().filter((event) => event.kind !== "progress" && event.kind !== "loss");
  }

  /** Ends the syncs that run, and those they start, then works. */
  afterSync(): Exclude<UpEvent, { kind: "progress" | "loss" }>[] {
    this.storage.completeSyncs();
    return this.outcomes();
  }

  takeUp(): UpEvent[] {
    const events: UpEvent[] = [];
    this.#up.read((type, bytes, start, end) => events.push(...decodeUp(type, bytes, start, end)), Infinity);
    return events;
  }
}

type DistributiveOmit<T, Key extends string> = T extends unknown ? Omit<T, Key> : never;

export function directoryOf(slot: number): string {
  return `/store/streams/${String(slot).padStart(32, "0")}`;
}

/** Operations that make an empty store. */
export const EMPTY_STORE_OPERATIONS = 4;

export function emptyStore(options: ConstructorParameters<typeof SimStorage>[0] = {}): SimStorage {
  const storage = new SimStorage(options);
  storage.makeDirectory("/store");
  storage.makeDirectory("/store/streams");
  storage.syncDirectory("/");
  storage.syncDirectory("/store");
  return storage;
}

function decodeUp(type: number, bytes: Buffer, start: number, end: number): UpEvent[] {
  switch (type as UpRecord) {
    case UpRecord.Appended:
      return Array.from({ length: bytes.readUInt32LE(start) }, (_, index) => {
        const at = start + APPENDED_HEAD_BYTES + index * APPENDED_ENTRY_BYTES;
        const isRepeat = (bytes.readUInt32LE(at + 4) & APPENDED_FLAG_REPEAT) !== 0;
        return {
          kind: "appended",
          token: bytes.readUInt32LE(at),
          firstSequence: bytes.readDoubleLE(at + 8),
          ...(isRepeat && { isRepeat }),
        };
      });
    case UpRecord.Failed:
      return [failedEvent(decodeFailed(bytes, start, end))];
    case UpRecord.Records: {
      const { token, isLast, firstSequence, durableEnd, messages } = decodeRecords(bytes, start, end);
      return [{ kind: "records", token, isLast, firstSequence, durableEnd, payloads: unframed(messages) }];
    }
    case UpRecord.Gap: {
      const { token, fromSequence, toSequence } = decodeGap(bytes, start);
      return [{ kind: "gap", token, fromSequence, toSequence }];
    }
    case UpRecord.Progress:
      return [{ kind: "progress", slot: bytes.readUInt32LE(start), progress: decodeProgress(bytes, start) }];
    case UpRecord.Loss:
      return [{ kind: "loss", slot: bytes.readUInt32LE(start), change: decodeLoss(bytes, start) }];
  }
}

function failedEvent({ token, error }: { token: number; error: MillraceError }): UpEvent {
  const { code, message: text } = error;
  const failed = { kind: "failed", token, code, text } as const;
  return error instanceof SequenceGapError ? { ...failed, expectedSequence: error.expectedSequence } : failed;
}

function unframed(messages: Uint8Array): string[] {
  const bytes = Buffer.from(messages);
  const payloads: string[] = [];
  for (let at = 0; at < bytes.length;) {
    const end = at + 4 + bytes.readUInt32LE(at);
    payloads.push(bytes.toString("latin1", at + 4, end));
    at = end;
  }
  return payloads;
}
