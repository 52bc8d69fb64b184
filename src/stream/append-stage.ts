import { PRODUCER_BLOCK_SHARE_MIN } from "../core/compression-limits.ts";
import { MillraceError, asMillraceError } from "../core/errors.ts";
import { HELD_BATCH_OVERHEAD_BYTES, HELD_BYTES_MAX, MESSAGE_OVERHEAD_BYTES } from "../core/limits.ts";
import { MESSAGE_LENGTH_BYTES } from "../core/message-framing.ts";
import { type BatchProducer, BlockBuilder, type BlockContent } from "../log/block-builder.ts";
import type { ProducerBlock } from "../log/lz4-frame.ts";
import { type CheckedBatch, checkBatch } from "./checked-batch.ts";
import type { AppendOutcome, OpenStream } from "./open-stream.ts";
import { APPEND_FLAG_LZ4, type AppendRecord } from "./stream-channel.ts";
import type { HandledSlot } from "./handled-slot.ts";
import { SyncBudget } from "./sync-budget.ts";
import type { UpSender } from "./up-sender.ts";

/** Builders kept for the next slice; a stream holds one only while a block of it is being gathered. */
const BUILDERS_KEPT_MAX = 4;

/**
 * Gathers the batches of one slice into a block per stream and commits them: write, sync where the stream asks for it, then
 * the outcome. An outcome is told only after the log has the bytes as the stream's policy demands, and in request order.
 */
export class AppendStage {
  readonly #up: UpSender;
  readonly #blockBytes: number;
  readonly #builders: BlockBuilder[] = [];
  readonly #gathering = new Set<OpenStream>();
  readonly #holding = new Set<OpenStream>();
  readonly #budget = new SyncBudget();
  #heldBytes = 0;
  #unpackedBytes = 0;
  readonly #onSyncSettled: () => void;
  readonly #handledSlot: HandledSlot;

  constructor(options: {
    up: UpSender;
    blockBytes: number;
    onSyncSettled: () => void;
    handledSlot: HandledSlot;
  }) {
    this.#handledSlot = options.handledSlot;
    this.#up = options.up;
    this.#blockBytes = options.blockBytes;
    this.#onSyncSettled = options.onSyncSettled;
  }

  /** Takes one batch, whose bytes are valid during the call only. */
  gather(stream: OpenStream, request: AppendRecord): void {
    if (stream.held.length > 0 || this.#mustWait(stream)) this.#hold(stream, request);
    else if (!this.#tryGather(stream, request)) this.#hold(stream, request);
  }

  #mustWait(stream: OpenStream): boolean {
    return stream.log.isSaturated || this.#budget.isOver;
  }

  /** Whether batches wait for a sync that lags. */
  get isHolding(): boolean {
    return this.#holding.size > 0;
  }

  /** Whether an outcome is still to come for something that was taken from the ring. */
  owesOutcomes(stream: OpenStream): boolean {
    return stream.gathered.length + stream.held.length + stream.waiting.length > 0 || stream.isSyncing;
  }

  get isHoldingTooMuch(): boolean {
    return this.#heldBytes > HELD_BYTES_MAX;
  }

  /** How much was unpacked since the last call. */
  takeUnpackedBytes(): number {
    const bytes = this.#unpackedBytes;
    this.#unpackedBytes = 0;
    return bytes;
  }

  /** Goes on with the batches of streams whose sync has caught up. */
  releaseHeld(): void {
    for (const stream of this.#holding) {
      this.#handledSlot.enter(stream.slot);
      while (stream.held.length > 0 && !this.#mustWait(stream)) {
        if (!this.#tryGather(stream, stream.held[0]!)) break;
        this.#heldBytes -= HELD_BATCH_OVERHEAD_BYTES + stream.held.shift()!.bytes.length;
      }
      if (stream.held.length === 0) this.#holding.delete(stream);
    }
  }

  /** The stream goes away. */
  forget(stream: OpenStream): void {
    this.#budget.forget(stream);
  }

  /** Answers what waits in a stream that goes away. */
  refuseHeld(stream: OpenStream, error: MillraceError): void {
    for (const { token, bytes } of stream.held) {
      this.#heldBytes -= HELD_BATCH_OVERHEAD_BYTES + bytes.length;
      this.#tell(stream, [{ token, needsSync: false, error }]);
    }
    stream.held.length = 0;
    this.#holding.delete(stream);
  }

  #hold(stream: OpenStream, request: AppendRecord): void {
    const bytes = Uint8Array.prototype.slice.call(request.bytes, request.start, request.end);
    stream.held.push({ ...request, bytes, start: 0, end: bytes.length });
    this.#heldBytes += HELD_BATCH_OVERHEAD_BYTES + bytes.length;
    this.#holding.add(stream);
  }

  /** @returns false when the log cannot take the batch before a sync ends; it was then left as it was. */
  #tryGather(stream: OpenStream, request: AppendRecord): boolean {
    try {
      return this.#gather(stream, request);
    } catch (thrown) {
      if (thrown instanceof MillraceError && thrown.code === "SERVER_BUSY") return false;
      // What came before it in this stream is told before it.
      this.commit(stream);
      this.#tell(stream, [{ token: request.token, needsSync: false, error: asMillraceError(thrown) }]);
      return true;
    }
  }

  #gather(stream: OpenStream, request: AppendRecord): boolean {
    // Also of one that is refused: what it says it unpacks to was allocated.
    if ((request.flags & APPEND_FLAG_LZ4) !== 0) this.#unpackedBytes += request.rawBytes;
    const batch = checkBatch(request);
    const { source, start, end } = batch;
    const { messageCount, producer } = request;
    const payloadBytes = end - start - messageCount * MESSAGE_LENGTH_BYTES;
    const costBytes = payloadBytes + messageCount * MESSAGE_OVERHEAD_BYTES;
    const isBlock = this.#becomesBlock(stream, batch);
    // What was gathered is not yet in the log, which can only make room once it is.
    const isTooMuch = stream.gatheredCostBytes + costBytes > stream.log.maxSize;
    if (stream.builder !== undefined && (isBlock || isTooMuch || !stream.builder.fits(end - start))) {
      this.commit(stream);
      if (this.#mustWait(stream)) return false;
    }
    // Only now: whether it is the next one depends on what became of the block that it did not fit.
    if (producer !== undefined) {
      if (!this.#isNext(stream, request, producer)) return true;
      if (stream.builder === undefined && this.#mustWait(stream)) return false;
    }
    stream.log.admit(stream.gatheredCostBytes + costBytes);
    const { ingestMs } = stream.log;
    stream.gathered.push({ token: request.token, messageCount });
    if (isBlock) {
      const { producerBlock } = batch;
      const runs = [{ messageCount, ingestMs, producer }];
      this.#commitBlock(stream, { raw: producerBlock.raw, runs, messageCount, producerBlock });
      return true;
    }
    const builder = (stream.builder ??= this.#builders.pop() ?? new BlockBuilder(this.#blockBytes));
    builder.add({ source, start, end, messageCount, payloadBytes, ingestMs, producer });
    if (producer !== undefined) stream.gatheredSequences.set(producer.id, producer.sequence);
    stream.gatheredCostBytes += costBytes;
    this.#gathering.add(stream);
    if (builder.rawBytes >= this.#blockBytes) this.commit(stream);
    return true;
  }

  /**
   * Whether a batch is stored as the block that its producer made of it: where it is large enough to be one, and what was gathered
   * before it does not become a small one by that. Any other is compressed again, with its neighbours.
   */
  #becomesBlock(
    { builder }: OpenStream,
    batch: CheckedBatch,
  ): batch is CheckedBatch & { readonly producerBlock: ProducerBlock } {
    if (batch.producerBlock === undefined) return false;
    const { raw } = batch.producerBlock;
    const leastBytes = this.#blockBytes * PRODUCER_BLOCK_SHARE_MIN;
    if (raw.length < leastBytes) return false;
    return builder === undefined || builder.rawBytes >= leastBytes || !builder.fits(raw.length);
  }

  /**
   * Whether a batch is the next one of its producer. One that was stored before is answered as it was then: behind whatever came
   * before it, and behind a sync where its stream asks for one, since the first answer may never have been given.
   * @throws {SequenceGapError}
   */
  #isNext(stream: OpenStream, request: AppendRecord, producer: BatchProducer): boolean {
    const gathered = stream.gatheredSequences.get(producer.id);
    if (gathered !== undefined) {
      if (producer.sequence === gathered + 1) return true;
      // What it is depends on what becomes of those.
      this.commit(stream);
    }
    const firstSequence = stream.log.findBatch(producer, request.messageCount);
    if (firstSequence === undefined) return true;
    this.commit(stream);
    const { flushOnWrite: needsSync } = stream;
    this.#tell(stream, [{ token: request.token, firstSequence, needsSync, isRepeat: true }]);
    return false;
  }

  /** Commits what was gathered in every stream. */
  commitAll(): void {
    for (const stream of this.#gathering) this.commit(stream);
  }

  /** Writes the stream's gathered block; its outcomes follow now or after the sync. */
  commit(stream: OpenStream): void {
    if (stream.builder !== undefined) this.#commitBlock(stream, stream.builder);
  }

  /** `content` is what stands in `stream.gathered`. */
  #commitBlock(stream: OpenStream, content: BlockContent): void {
    this.#handledSlot.enter(stream.slot);
    const outcomes = writeBlock(stream, content);
    this.#giveBack(stream);
    stream.gathered.length = 0;
    stream.gatheredCostBytes = 0;
    stream.gatheredSequences.clear();
    stream.isProgressDue = true;
    this.#gathering.delete(stream);
    this.#tell(stream, outcomes);
    this.#budget.onWritten(stream);
  }

  #giveBack(stream: OpenStream): void {
    const { builder } = stream;
    if (builder === undefined) return;
    builder.reset();
    if (this.#builders.length < BUILDERS_KEPT_MAX) this.#builders.push(builder);
    stream.builder = undefined;
  }

  /** Tells outcomes now, or queues them behind the sync that covers them or those before them. */
  #tell(stream: OpenStream, outcomes: AppendOutcome[]): void {
    const isBehindSync = stream.isSyncing || stream.waiting.length > 0;
    if (!isBehindSync && !outcomes.some(needsSync)) {
      for (const outcome of outcomes) this.#tellOne(outcome);
      return;
    }
    for (const outcome of outcomes) stream.waiting.push(outcome);
    if (!stream.isSyncing) this.#sync(stream);
  }

  #sync(stream: OpenStream): void {
    const covered = stream.waiting;
    stream.waiting = [];
    stream.isSyncing = true;
    stream.log.sync((error) => {
      this.#handledSlot.enter(stream.slot);
      stream.isSyncing = false;
      stream.isProgressDue = true;
      for (const outcome of covered) {
        const failed = error !== undefined && outcome.needsSync;
        this.#tellOne(failed ? { token: outcome.token, needsSync: false, error } : outcome);
      }
      // The next group gathered while the sync ran.
      if (stream.waiting.some(needsSync)) this.#sync(stream);
      else for (const outcome of stream.waiting.splice(0)) this.#tellOne(outcome);
      this.#onSyncSettled();
    });
  }

  #tellOne(outcome: AppendOutcome): void {
    const { token, error } = outcome;
    if (error !== undefined) this.#up.failed(token, error);
    else this.#up.appended(token, outcome.firstSequence, { isRepeat: outcome.isRepeat === true });
  }
}

function needsSync(outcome: AppendOutcome): boolean {
  return outcome.needsSync;
}

function writeBlock(stream: OpenStream, content: BlockContent): AppendOutcome[] {
  try {
    let firstSequence = stream.log.append(content);
    return stream.gathered.map(({ token, messageCount }) => {
      const outcome = { token, firstSequence, needsSync: stream.flushOnWrite };
      firstSequence += messageCount;
      return outcome;
    });
  } catch (thrown) {
    const error = asMillraceError(thrown);
    return stream.gathered.map(({ token }) => ({ token, needsSync: false, error }));
  }
}
