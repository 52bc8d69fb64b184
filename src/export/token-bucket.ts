import { EXPORT_CAP_BATCH_MS } from "../core/limits.ts";

/** What a bucket allows at one moment, as the scheduler reckons with it. Bytes of request bodies. */
export interface Allowance {
  /** Below 0 while a batch larger than the bucket is paid back. */
  readonly levelBytes: number;
  readonly depthBytes: number;
  readonly bytesPerMs: number;
}

/**
 * An average bandwidth: bytes may be sent as they flow in, and what is not used is kept up to a small depth, one batch, so
 * that the average holds over seconds. A batch larger than that is let through by a full bucket and paid back afterwards:
 * over any time the bytes sent exceed the cap by one batch at most.
 */
export class TokenBucket {
  readonly #bytesPerMs: number;
  #levelBytes: number;
  #atMs: number;

  /** It begins full. `kbitPerSecond` of 1000 bits. */
  constructor({ kbitPerSecond, nowMs }: { kbitPerSecond: number; nowMs: number }) {
    this.#bytesPerMs = bytesPerMsOf(kbitPerSecond);
    this.#levelBytes = this.#depthBytes;
    this.#atMs = nowMs;
  }

  get #depthBytes(): number {
    return this.#bytesPerMs * EXPORT_CAP_BATCH_MS;
  }

  allowance(nowMs: number): Allowance {
    this.#flow(nowMs);
    return { levelBytes: this.#levelBytes, depthBytes: this.#depthBytes, bytesPerMs: this.#bytesPerMs };
  }

  /** `bytes` are sent; fewer than 0 were taken too many before, and are put back even into a full bucket. */
  take(bytes: number, nowMs: number): void {
    this.#flow(nowMs);
    this.#levelBytes -= bytes;
  }

  #flow(nowMs: number): void {
    const flowed = Math.max(0, nowMs - this.#atMs) * this.#bytesPerMs;
    this.#levelBytes = Math.max(this.#levelBytes, Math.min(this.#depthBytes, this.#levelBytes + flowed));
    this.#atMs = Math.max(this.#atMs, nowMs);
  }
}

/** 1 kbit/s is 1000 bits a second, as in the stream manager. */
export function bytesPerMsOf(kbitPerSecond: number): number {
  return kbitPerSecond / 8;
}

/** How long until a batch of `bytes` may start; 0 if it may now. */
export function waitMs({ levelBytes, depthBytes, bytesPerMs }: Allowance, bytes: number): number {
  const needed = Math.min(depthBytes, bytes);
  return levelBytes >= needed ? 0 : (needed - levelBytes) / bytesPerMs;
}

/** What is left once a batch of `bytes` has started. */
export function without(allowance: Allowance, bytes: number): Allowance {
  return { ...allowance, levelBytes: allowance.levelBytes - bytes };
}
