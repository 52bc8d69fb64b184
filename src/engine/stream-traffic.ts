import type { MessageRate } from "../core/stream-description.ts";
import { RateMeter } from "../export/rate-meter.ts";
import type { StreamProgress } from "../stream/stream-channel.ts";

type Totals = Pick<StreamProgress, "nextSequence" | "nextPayloadOffset" | "storedBytes">;

/** How fast a stream grows of late, from what its worker tells. */
export class StreamTraffic {
  #known: Totals | undefined;
  #meters:
    | { readonly messages: RateMeter; readonly payloadBytes: RateMeter; readonly storedBytes: RateMeter }
    | undefined;

  /** `progress` as it was told at `nowMs`, monotonic. What was there when it was told first has not arrived of late. */
  note({ nextSequence, nextPayloadOffset, storedBytes }: Totals, nowMs: number): void {
    const known = this.#known;
    this.#known = { nextSequence, nextPayloadOffset, storedBytes };
    if (known === undefined) return;
    this.#meters ??= {
      messages: new RateMeter(nowMs),
      payloadBytes: new RateMeter(nowMs),
      storedBytes: new RateMeter(nowMs),
    };
    // A log that was opened again may end before what its lost worker had told.
    this.#meters.messages.add(Math.max(0, nextSequence - known.nextSequence), nowMs);
    this.#meters.payloadBytes.add(Math.max(0, nextPayloadOffset - known.nextPayloadOffset), nowMs);
    this.#meters.storedBytes.add(storedBytes - known.storedBytes, nowMs);
  }

  appended(nowMs: number): MessageRate {
    return {
      messagesPerSecond: this.#meters?.messages.perSecond(nowMs) ?? 0,
      bytesPerSecond: this.#meters?.payloadBytes.perSecond(nowMs) ?? 0,
    };
  }

  /** Of the segment files; below 0 while more is deleted than arrives. */
  storedBytesPerSecond(nowMs: number): number {
    return this.#meters?.storedBytes.perSecond(nowMs) ?? 0;
  }
}
