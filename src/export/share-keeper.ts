import { EXPORT_REQUEST_BYTES_MAX } from "../core/limits.ts";

/** An exporter as its share sees it. */
export interface ShareHolder {
  readonly key: string;
  /** 0 for none. */
  readonly minSharePercent: number;
  /** Whether it has more to send and nothing but others keeps it back. */
  readonly isWaiting: boolean;
}

/**
 * How far exporters are behind their minimum share of all request-body bytes. Whenever somebody sends, each one that waits
 * is owed its share of that; what it sends itself is taken off. One that had nothing to send has no claim on what went by,
 * and one that had more than its share owes no more than its last batch.
 */
export class ShareKeeper {
  readonly #owed = new Map<string, number>();

  /** Above 0 while it is behind. */
  owedBytes(key: string): number {
    return this.#owed.get(key) ?? 0;
  }

  /** A batch of `bytes` begins. `holders` are all that have data. */
  begin(sender: string, bytes: number, holders: readonly ShareHolder[]): void {
    this.#share(sender, bytes, holders);
    const owed = this.#owed.get(sender);
    if (owed !== undefined) this.#owed.set(sender, Math.max(owed, -bytes));
  }

  /** A batch took so many bytes more than was said when it began, or fewer. */
  correct(sender: string, bytesMore: number, holders: readonly ShareHolder[]): void {
    if (bytesMore !== 0) this.#share(sender, bytesMore, holders);
  }

  forget(key: string): void {
    this.#owed.delete(key);
  }

  #share(sender: string, bytes: number, holders: readonly ShareHolder[]): void {
    const shared = holders.filter(({ minSharePercent }) => minSharePercent > 0);
    // Shares of more than everything are scaled down.
    const whole = Math.max(
      100,
      shared.reduce((sum, { minSharePercent }) => sum + minSharePercent, 0),
    );
    for (const { key, minSharePercent, isWaiting } of shared) {
      const owed = this.owedBytes(key);
      const part = (bytes * minSharePercent) / whole;
      if (key === sender) this.#owed.set(key, owed + part - bytes);
      else if (isWaiting) this.#owed.set(key, Math.min(EXPORT_REQUEST_BYTES_MAX, owed + part));
      else this.#owed.set(key, Math.min(0, owed));
    }
  }
}
