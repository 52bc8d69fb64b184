import { unreachable } from "../core/assert.ts";
import type { MachineClock } from "../core/clock.ts";
import { ClockWatch } from "../core/clock-watch.ts";
import { MillraceError, asMillraceError } from "../core/errors.ts";
import { HELD_POLL_MS } from "../core/limits.ts";
import type { Random } from "../core/random.ts";
import type { SharedFile } from "../log/shared-memory-storage.ts";
import type { Storage } from "../log/storage.ts";
import { destroyStreamDirectory } from "../log/stream-deletion.ts";
import type { RingReader } from "../ring/ring-reader.ts";
import type { RingSender } from "../ring/ring-sender.ts";
import { AppendStage } from "./append-stage.ts";
import { type OpenStream, factsOf, hasMoved, haveChanged, progressOf } from "./open-stream.ts";
import type { HandledSlot } from "./handled-slot.ts";
import { ReadStage } from "./read-stage.ts";
import { damageNotes } from "./recovery-notes.ts";
import { RewriteStage } from "./rewrite-stage.ts";
import {
  type ControlReply,
  type ControlRequest,
  DownRecord,
  decodeAppend,
  type StreamWorkerSettings,
} from "./stream-channel.ts";
import { diskRoomOf, openStream, type SharedByStreams, updateStream } from "./stream-opening.ts";
import { UpSender } from "./up-sender.ts";

/** Ring bytes handled before reads, pushes and control get their turn. */
const SLICE_BYTES_MAX = 256 * 1024;
const TICK_INTERVAL_MS = 100;
const TRICKLE_BYTES_MAX = 4096;

export interface StreamAgentOptions {
  readonly down: RingReader;
  readonly up: RingSender;
  /** Called after whatever was written to `up`; wakes the main thread if it sleeps. */
  readonly wakeMain: () => void;
  /** Says which stream is in hand, should this thread die over it. */
  readonly handledSlot: HandledSlot;
  readonly reply: (message: ControlReply) => void;
  /** For File streams. */
  readonly storage: Storage;
  /** For a Memory stream; `files` is what a dead worker left of it. */
  readonly memoryStorage: (files: readonly SharedFile[]) => Storage;
  readonly clock: MachineClock;
  readonly random: Random;
  readonly settings: StreamWorkerSettings;
}

/** An end that was asked for and waits for the last outcomes. */
interface Closing {
  readonly id: number;
  /** Streams whose last sync runs; undefined before they were asked. */
  unsyncedCount: number | undefined;
  failure: MillraceError | undefined;
}

/** The work of one stream worker in bounded slices, without a thread: owns the logs of its streams and nothing else does. */
export class StreamAgent {
  readonly #options: StreamAgentOptions;
  /** Sampled once a slice: messages of one slice arrive at one time. */
  readonly #watch: ClockWatch;
  readonly #shared: SharedByStreams;
  /** In the order in which they were opened; and by slot, of which those of deleted streams never come again. */
  readonly #streams: OpenStream[] = [];
  readonly #bySlot = new Map<number, OpenStream>();
  readonly #up: UpSender;
  readonly #appends: AppendStage;
  readonly #reads: ReadStage;
  readonly #rewrites: RewriteStage;
  /** Called once when the next sync ends that something waits for; set by whoever sleeps meanwhile. */
  onSyncSettled: (() => void) | undefined;
  #lastInputBytes = 0;
  #nextTickMs = 0;
  #closing: Closing | undefined;
  #isClosed = false;

  constructor(options: StreamAgentOptions) {
    this.#options = options;
    this.#watch = new ClockWatch(options.clock);
    this.#shared = { watch: this.#watch, diskRoom: diskRoomOf(options) };
    this.#up = new UpSender(options.up, {
      beforeOutcomes: () => this.#tellProgress(),
      wakeReader: options.wakeMain,
    });
    const onSyncSettled = (): void => this.onSyncSettled?.();
    const { clock, handledSlot } = options;
    const { blockBytes } = options.settings;
    this.#appends = new AppendStage({ up: this.#up, blockBytes, onSyncSettled, handledSlot });
    this.#reads = new ReadStage({ up: this.#up, clock, handledSlot });
    this.#rewrites = new RewriteStage({ clock, onSyncSettled, handledSlot });
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  /**
   * Whether there is something to do, for a last look before sleep. What could not be sent is tried again here: room that was
   * made before the doorbell was armed rang it in vain.
   */
  hasInput(): boolean {
    if (!this.#up.isClear) return this.#up.flush();
    // Outcomes of a sync that ended since the last slice.
    if (this.#up.isFlushDue || this.#isClosed) return true;
    return !this.#options.down.isEmpty && !this.#appends.isHoldingTooMuch;
  }

  /** Whether the last input was little, as from clients that await each append. */
  get isTrickling(): boolean {
    return this.#lastInputBytes < TRICKLE_BYTES_MAX;
  }

  /** Whether a sync runs beside this thread, so that its event loop must turn. */
  get isSyncing(): boolean {
    return this.#rewrites.isSyncing || this.#streams.some(({ log }) => log.isSyncing);
  }

  /** Bytes of compressed batches that were unpacked since the last call. */
  takeUnpackedBytes(): number {
    return this.#appends.takeUnpackedBytes();
  }

  /** One slice: append what arrived, commit, answer reads, tell progress. @returns whether there may be more to do at once. */
  doWork(): boolean {
    const { down, clock } = this.#options;
    this.#watch.sample();
    // With replies waiting, no more requests are taken: what waits stays bounded by what was asked for.
    const isClear = this.#up.flush();
    this.#appends.releaseHeld();
    const mayRead = isClear && !this.#appends.isHoldingTooMuch;
    const consumedBytes = mayRead ? down.read(this.#onRecord, SLICE_BYTES_MAX) : 0;
    if (consumedBytes > 0) {
      this.#lastInputBytes = consumedBytes;
      this.#rewrites.noteInput();
    }
    this.#appends.commitAll();
    if (clock.monotonicMs() >= this.#nextTickMs) this.#tick();
    const hasServed = this.#closing === undefined && this.#reads.serve();
    if (this.#up.isClear) this.#tellProgress();
    this.#up.flush();
    if (this.#closing !== undefined) this.#goOnClosing(this.#closing);
    // Last, when every outcome of this slice has gone up.
    const hasRewritten = this.#closing === undefined && this.#rewrites.serve();
    this.#options.handledSlot.leave();
    return consumedBytes > 0 || hasServed || hasRewritten;
  }

  /** Milliseconds this agent may sleep when `doWork` had nothing to do and nobody rings. */
  idleMs(): number {
    const untilTick = this.#nextTickMs - this.#options.clock.monotonicMs();
    const untilPoll = this.#appends.isHolding ? HELD_POLL_MS : Infinity;
    return Math.max(
      0,
      Math.min(untilTick, untilPoll, this.#reads.nextDeadlineMs(), this.#rewrites.nextDeadlineMs()),
    );
  }

  onControl(request: ControlRequest): void {
    try {
      this.#handleControl(request);
    } catch (thrown) {
      const error = asMillraceError(thrown);
      this.#options.reply({ kind: "failed", id: request.id, code: error.code, text: error.message });
    }
  }

  #handleControl(request: ControlRequest): void {
    switch (request.kind) {
      case "open":
        this.#open(request);
        return;
      case "update":
        this.#update(request);
        return;
      case "release":
        this.#stream(request.slot).log.release(request.endSequence);
        this.#replyDone(request.id, undefined);
        return;
      case "destroy":
        this.#destroy(request);
        return;
      case "sync":
        this.#stream(request.slot).log.sync((error) => this.#replyDone(request.id, error, request.slot));
        return;
      case "close":
        this.#close(request.id);
        return;
      default:
        unreachable(request);
    }
  }

  #open(request: Extract<ControlRequest, { kind: "open" }>): void {
    this.#options.handledSlot.enter(request.slot);
    const { stream, notes, stored } = openStream(request, this.#options, this.#shared);
    this.#streams.push(stream);
    this.#bySlot.set(request.slot, stream);
    // From here on the main thread's copy of the ledger follows by Loss records.
    notes.push(...damageNotes(stream.log.ledger.takeChanges()));
    const { told: progress, toldFacts: facts, log } = stream;
    this.#options.reply({
      kind: "done",
      id: request.id,
      progress,
      ledger: log.ledger.snapshot,
      facts,
      notes,
      ...(stored === undefined ? {} : { stored }),
    });
  }

  #update(request: Extract<ControlRequest, { kind: "update" }>): void {
    const stream = this.#stream(request.slot);
    // What was taken before counts, and is answered, as it was then.
    this.#appends.commit(stream);
    updateStream(stream, request, this.#options);
    this.#replyDone(request.id, undefined);
  }

  #destroy(request: Extract<ControlRequest, { kind: "destroy" }>): void {
    const stream = this.#stream(request.slot);
    this.#appends.commit(stream);
    this.#appends.refuseHeld(stream, new MillraceError("STREAM_NOT_FOUND", "The stream was deleted"));
    this.#reads.endStream(stream);
    this.#rewrites.endStream(stream);
    this.#streams.splice(this.#streams.indexOf(stream), 1);
    this.#bySlot.delete(request.slot);
    this.#appends.forget(stream);
    // The definition goes first: should it stay, so does what the memory holds.
    if (stream.isMemory)
      destroyStreamDirectory({ storage: this.#options.storage, directory: stream.directory });
    stream.log.destroy();
    this.#options.reply({ kind: "done", id: request.id, notes: [] });
  }

  /** Nothing more is sent down after this: what lies in the ring is committed and answered before the thread ends. */
  #close(id: number): void {
    this.#closing = { id, unsyncedCount: undefined, failure: undefined };
    this.doWork();
  }

  #goOnClosing(closing: Closing): void {
    const open = this.#streams;
    for (const stream of open) {
      // A sync that its held batches wait for may never come.
      if (stream.log.state === "ok") continue;
      this.#appends.refuseHeld(stream, new MillraceError("SHUTTING_DOWN", "The engine is stopping"));
    }
    const owesOutcomes = open.some((stream) => this.#appends.owesOutcomes(stream));
    if (this.#hasClosed() || owesOutcomes || !this.#options.down.isEmpty) return;
    if (closing.unsyncedCount === undefined) {
      closing.unsyncedCount = open.length;
      for (const stream of open) this.#syncBeforeClose(stream, closing);
    }
    // The main thread takes what fills the ring and wakes this one, which would take it along unsent.
    if (this.#hasClosed() || closing.unsyncedCount > 0 || !this.#up.flush()) return;
    for (const stream of open) stream.log.close();
    this.#isClosed = true;
    this.#replyDone(closing.id, closing.failure);
  }

  /** A sync that ends at once closes from within. */
  #hasClosed(): boolean {
    return this.#isClosed;
  }

  #syncBeforeClose(stream: OpenStream, closing: Closing): void {
    stream.log.sync((error) => {
      closing.failure ??= error;
      closing.unsyncedCount! -= 1;
      this.#goOnClosing(closing);
      this.onSyncSettled?.();
    });
  }

  #replyDone(id: number, error: MillraceError | undefined, slot?: number): void {
    if (error !== undefined) {
      this.#options.reply({ kind: "failed", id, code: error.code, text: error.message });
      return;
    }
    const stream = slot === undefined ? undefined : this.#bySlot.get(slot);
    const progress = stream === undefined ? undefined : progressOf(stream.log);
    this.#options.reply({ kind: "done", id, notes: [], ...(progress === undefined ? {} : { progress }) });
  }

  #stream(slot: number): OpenStream {
    const stream = this.#bySlot.get(slot);
    if (stream === undefined) throw new MillraceError("STREAM_NOT_FOUND", `No stream in slot ${slot}`);
    return stream;
  }

  readonly #onRecord = (type: number, bytes: Buffer, start: number, end: number): void => {
    const token = bytes.readUInt32LE(start);
    if (type === DownRecord.Credit) this.#reads.credit(token, bytes.readUInt32LE(start + 4));
    else if (type === DownRecord.Cancel) this.#reads.cancel(token);
    else this.#onStreamRecord(type as DownRecord, token, { bytes, start, end });
  };

  #onStreamRecord(
    type: DownRecord,
    token: number,
    record: { bytes: Buffer; start: number; end: number },
  ): void {
    const { bytes, start } = record;
    const slot = bytes.readUInt32LE(start + 4);
    this.#options.handledSlot.enter(slot);
    const stream = this.#bySlot.get(slot);
    if (stream === undefined) {
      this.#up.failed(token, new MillraceError("STREAM_NOT_FOUND", "The stream was deleted"));
    } else if (type === DownRecord.Append) {
      this.#appends.gather(stream, decodeAppend(token, record));
    } else if (type === DownRecord.Read) {
      this.#reads.read(stream, {
        token,
        fromSequence: bytes.readDoubleLE(start + 8),
        messageCountMin: bytes.readUInt32LE(start + 16),
        messageCountMax: bytes.readUInt32LE(start + 20),
        bytesMax: bytes.readUInt32LE(start + 24),
        timeoutMs: bytes.readUInt32LE(start + 28),
      });
    } else {
      const fromSequence = bytes.readDoubleLE(start + 8);
      this.#reads.subscribe(stream, { token, fromSequence, creditBytes: bytes.readUInt32LE(start + 16) });
    }
  }

  #tick(): void {
    this.#nextTickMs = this.#options.clock.monotonicMs() + TICK_INTERVAL_MS;
    for (const stream of this.#streams) {
      this.#options.handledSlot.enter(stream.slot);
      stream.log.tick();
      if (hasMoved(stream)) stream.isProgressDue = true;
      this.#tellFacts(stream);
    }
    this.#rewrites.choose(this.#streams);
  }

  /** A stream's numbers go out before the outcomes that they include, so that describe never lags behind an acknowledgement. */
  #tellProgress(): void {
    for (const stream of this.#streams) {
      if (!stream.isProgressDue) continue;
      stream.isProgressDue = false;
      stream.told = progressOf(stream.log);
      for (const change of stream.log.ledger.takeChanges()) this.#up.loss(stream.slot, change);
      this.#up.progress(stream.slot, stream.told);
    }
  }

  #tellFacts(stream: OpenStream): void {
    const facts = factsOf(stream.log);
    if (!haveChanged(facts, stream.toldFacts)) return;
    stream.toldFacts = facts;
    this.#options.reply({ kind: "facts", slot: stream.slot, facts });
  }
}
