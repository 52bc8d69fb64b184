import { EXPORT_TASK_WINDOWS_MAX } from "../core/limits.ts";
import type { Random } from "../core/random.ts";
import type { ArrivalMarks } from "./arrival-marks.ts";
import { EndpointBackoff, type EndpointTicket } from "./endpoint-backoff.ts";
import type { BatchResult } from "./export-channel.ts";
import type { FlightStart } from "./export-flight.ts";
import type { Exporter } from "./exporter.ts";
import { Hold, schedule, type Schedule, type SchedulerExporter } from "./scheduler.ts";
import { type ShareHolder, ShareKeeper } from "./share-keeper.ts";
import { TokenBucket } from "./token-bucket.ts";

interface ExportTurnsOptions {
  readonly random: Random;
  /** Of all exporters together; undefined for no cap. */
  readonly kbitPerSecondMax: number | undefined;
  readonly nowMs: number;
}

interface PlanOptions {
  readonly slotsFree: number;
  readonly nowMs: number;
  readonly arrivalsOf: (exporter: Exporter) => ArrivalMarks;
}

/** Whose turn it is: what exporters have in common, the backoff of endpoints, the bandwidth of all, and their shares of it. */
export class ExportTurns {
  readonly #random: Random;
  readonly #endpoints = new Map<string, EndpointBackoff>();
  readonly #shares = new ShareKeeper();
  readonly #bucket: TokenBucket | undefined;
  #holders: readonly ShareHolder[] = [];
  /** By the last plan nobody waits for another's slot, or for a share of what is sent. */
  #isQuiet = false;
  readonly kbitPerSecondMax: number | undefined;

  constructor({ random, kbitPerSecondMax, nowMs }: ExportTurnsOptions) {
    this.#random = random;
    this.kbitPerSecondMax = kbitPerSecondMax;
    this.#bucket =
      kbitPerSecondMax === undefined
        ? undefined
        : new TokenBucket({ kbitPerSecond: kbitPerSecondMax, nowMs });
  }

  /** Who starts now, of `exporters` that may send. */
  plan(exporters: readonly Exporter[], { slotsFree, nowMs, arrivalsOf }: PlanOptions): Schedule {
    const waiting = exporters.filter(({ pendingMessages }) => pendingMessages > 0);
    const views = waiting.map((exporter) => {
      const shareOwedBytes = this.#shares.owedBytes(exporter.key);
      const { kbitPerSecondMax } = this;
      return exporter.schedulerView(arrivalsOf(exporter), { nowMs, kbitPerSecondMax, shareOwedBytes });
    });
    const plan = schedule({
      exporters: views,
      endpoints: this.#endpoints,
      slotsFree,
      allowance: this.#bucket?.allowance(nowMs),
      nowMs,
    });
    const hasShares = waiting.some(({ settings }) => settings.minSharePercent > 0);
    this.#isQuiet = !hasShares && waiting.filter(({ inFlight }) => !inFlight).length <= slotsFree;
    this.#holders = holdersOf(exporters, new Map(views.map((view) => [view.key, view])), plan);
    return plan;
  }

  /** How many windows a task may send, one after the other: caps and shares look at each. */
  windowsMax({ settings }: Exporter): number {
    const isCapped = this.#bucket !== undefined || settings.kbitPerSecondMax !== undefined;
    return this.#isQuiet && !isCapped ? EXPORT_TASK_WINDOWS_MAX : 1;
  }

  /** A batch of the exporter starts, and is expected to take so many bytes of request bodies. */
  begin(exporter: Exporter, expectedBytes: number, nowMs: number): EndpointTicket {
    this.#bucket?.take(expectedBytes, nowMs);
    this.#shares.begin(exporter.key, expectedBytes, this.#holders);
    return this.#endpoint(exporter).start();
  }

  /** Its batch has ended; `result` is undefined where it was lost with its thread. */
  end(
    exporter: Exporter,
    { ticket, expectedBytes }: FlightStart,
    { result, nowMs }: { result: BatchResult | undefined; nowMs: number },
  ): void {
    if (ticket === undefined) return;
    if (result === undefined) {
      ticket.backoff.abandon(ticket);
      return;
    }
    const bytesMore = (result.requests?.bodyBytes ?? 0) - expectedBytes;
    this.#bucket?.take(bytesMore, nowMs);
    // One that was removed has no share any more, and none is begun for it.
    const holders = exporter.isRemoved
      ? this.#holders.filter(({ key }) => key !== exporter.key)
      : this.#holders;
    this.#shares.correct(exporter.key, bytesMore, holders);
    // A request that was called back, or may have been, says nothing of its endpoint.
    if (exporter.isRemoved && result.outcome.kind === "failed") ticket.backoff.abandon(ticket);
    else ticket.backoff.end(ticket, result.outcome, nowMs);
  }

  /** The endpoint of the exporter may be tried at once. */
  retry(exporter: Exporter): void {
    this.#endpoints.get(exporter.settings.endpoint)?.retryNow();
  }

  forget(exporter: Exporter): void {
    this.#shares.forget(exporter.key);
  }

  #endpoint({ settings: { endpoint } }: Exporter): EndpointBackoff {
    let backoff = this.#endpoints.get(endpoint);
    if (backoff === undefined) {
      backoff = new EndpointBackoff(this.#random);
      this.#endpoints.set(endpoint, backoff);
    }
    return backoff;
  }
}

/** Those with a share, and whether others alone keep them from sending more. */
function holdersOf(
  exporters: readonly Exporter[],
  views: ReadonlyMap<string, SchedulerExporter>,
  { start, held }: Schedule,
): ShareHolder[] {
  const isWaiting = (key: string): boolean => {
    const view = views.get(key);
    if (view === undefined || view.backlogMessages <= 0) return false;
    const hold = held.get(key)?.hold;
    const isInTheWay = hold === Hold.Priority || hold === Hold.Slots || hold === Hold.Bandwidth;
    return view.inFlight || start.includes(key) || isInTheWay;
  };
  return exporters
    .filter(({ settings }) => settings.minSharePercent > 0)
    .map(({ key, settings: { minSharePercent } }) => ({ key, minSharePercent, isWaiting: isWaiting(key) }));
}
