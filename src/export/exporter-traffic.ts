import { EXPORT_CAP_BATCH_MS, EXPORT_REQUEST_BYTES_MAX } from "../core/limits.ts";
import type { BatchResult, RequestBytes } from "./export-channel.ts";
import type { ExporterSettings } from "./exporter-settings.ts";
import { RateMeter } from "./rate-meter.ts";
import { type Allowance, bytesPerMsOf, TokenBucket } from "./token-bucket.ts";

const noRequests: RequestBytes = { bodyBytes: 0, payloadBytes: 0, countedBytes: 0 };

/** An exporter's own bandwidth cap; what is sent again of its set-aside messages goes by the same one. */
export class ExporterCap {
  #kbitPerSecondMax: number | undefined;
  /** Its requests have no bodies: no cap holds it back. */
  #isLocal = false;
  #bucket: TokenBucket | undefined;

  get kbitPerSecondMax(): number | undefined {
    return this.#kbitPerSecondMax;
  }

  get isLocal(): boolean {
    return this.#isLocal;
  }

  configure({
    kbitPerSecondMax,
    destination,
  }: Pick<ExporterSettings, "kbitPerSecondMax" | "destination">): void {
    this.#isLocal = destination.kind === "file";
    if (kbitPerSecondMax === this.#kbitPerSecondMax) return;
    this.#kbitPerSecondMax = kbitPerSecondMax;
    this.#bucket = undefined;
  }

  /** Undefined without a cap. */
  bucketAt(nowMs: number): TokenBucket | undefined {
    if (this.#kbitPerSecondMax === undefined) return undefined;
    return (this.#bucket ??= new TokenBucket({ kbitPerSecond: this.#kbitPerSecondMax, nowMs }));
  }
}

/** What one exporter sends: how much of late, how much its next batch will take, and its own bandwidth cap. */
export class ExporterTraffic {
  readonly #cap: ExporterCap;
  /** What the batch that is out was taken from: the cap may be another one when it ends. */
  #charged: TokenBucket | undefined;
  /** As its last batch had them: a destination may encode what it sends, and records have an overhead. */
  #bodyPerCounted = 1;
  #countedPerPayload = 1;
  #fallbackMessages = 0;
  #messages: RateMeter | undefined;
  #payloadBytes: RateMeter | undefined;

  constructor(cap: ExporterCap) {
    this.#cap = cap;
  }

  /** Of its own cap; undefined without one. */
  allowance(nowMs: number): Allowance | undefined {
    return this.#cap.bucketAt(nowMs)?.allowance(nowMs);
  }

  /** What payload costs with its overhead. */
  countedBytesOf(payloadBytes: number): number {
    return payloadBytes * this.#countedPerPayload;
  }

  /** What the request bodies of a batch will take that counts so much payload and overhead. At least 1, if there are any. */
  bodyBytesOf(countedBytes: number): number {
    if (this.#cap.isLocal) return 0;
    return Math.max(1, countedBytes * this.#bodyPerCounted);
  }

  /**
   * Most payload and overhead of each of `inFlightMax` requests: together what a cap, its own or that of all, lets through in
   * about a second.
   */
  requestBytesMax(kbitPerSecondMax: number | undefined, inFlightMax: number): number {
    const kbitPerSecond = Math.min(kbitPerSecondMax ?? Infinity, this.#cap.kbitPerSecondMax ?? Infinity);
    if (this.#cap.isLocal || !Number.isFinite(kbitPerSecond)) return EXPORT_REQUEST_BYTES_MAX;
    const bodyBytes = bytesPerMsOf(kbitPerSecond) * EXPORT_CAP_BATCH_MS;
    return Math.max(1, Math.floor(bodyBytes / this.#bodyPerCounted / inFlightMax));
  }

  begin(expectedBytes: number, nowMs: number): void {
    this.#charged = this.#cap.bucketAt(nowMs);
    this.#charged?.take(expectedBytes, nowMs);
  }

  /** Takes in what a task took in the end; for one that was lost with its thread, what was expected of it stays taken. */
  end(expectedBytes: number, result: BatchResult, nowMs: number): void {
    const { requests: { bodyBytes, payloadBytes, countedBytes } = noRequests, outcome } = result;
    this.#charged?.take(bodyBytes - expectedBytes, nowMs);
    this.#charged = undefined;
    if (bodyBytes > 0 && payloadBytes > 0) {
      this.#bodyPerCounted = bodyBytes / countedBytes;
      this.#countedPerPayload = countedBytes / payloadBytes;
    }
    if (outcome.kind !== "sent") return;
    this.#fallbackMessages += outcome.fallbackCount ?? 0;
    (this.#messages ??= new RateMeter(nowMs)).add(outcome.acceptedMessages, nowMs);
    (this.#payloadBytes ??= new RateMeter(nowMs)).add(outcome.acceptedBytes, nowMs);
  }

  /** Messages and payload bytes accepted in a second, of late. */
  rates(nowMs: number): {
    readonly messagesPerSecond: number;
    readonly bytesPerSecond: number;
    /** Sent another way than the exporter's options ask, since this process started. */
    readonly fallbackMessages: number;
  } {
    return {
      fallbackMessages: this.#fallbackMessages,
      messagesPerSecond: this.#messages?.perSecond(nowMs) ?? 0,
      bytesPerSecond: this.#payloadBytes?.perSecond(nowMs) ?? 0,
    };
  }
}
