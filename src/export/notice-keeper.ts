import { asMillraceError, type MillraceError } from "../core/errors.ts";
import { EXPORT_NOTICE_RETRY_MS } from "../core/limits.ts";
import type { Timers } from "../core/timers.ts";
import { EventName } from "../observe/events.ts";
import type { Logger } from "../observe/logger.ts";
import type { StreamNotice } from "./destinations/destination.ts";

interface NoticeKeeperOptions {
  /** Resolves when the message is stored as its stream promises. @throws {MillraceError} */
  readonly append: ((notice: StreamNotice) => Promise<unknown>) | undefined;
  readonly timers: Timers;
  readonly logger: Logger;
}

/**
 * Appends what destinations have to tell to other streams. A stream that cannot take it now is asked again; one that will
 * not (missing, full, fenced) must hold up no export: the notice is dropped, counted, and told of once.
 */
export class NoticeKeeper {
  readonly #options: NoticeKeeperOptions;
  readonly #refusing = new Set<string>();
  #droppedCount = 0;

  constructor(options: NoticeKeeperOptions) {
    this.#options = options;
  }

  get droppedCount(): number {
    return this.#droppedCount;
  }

  /** Appends in order. Resolves when all are stored or dropped; what waits is dropped once `isGivenUp` says so. */
  async deliver(notices: readonly StreamNotice[], isGivenUp: () => boolean): Promise<void> {
    for (const notice of notices) {
      let failure = await this.#tryAppend(notice);
      while (failure !== undefined && isTemporary(failure) && !isGivenUp()) {
        await this.#pause();
        failure = await this.#tryAppend(notice);
      }
      if (failure === undefined) this.#refusing.delete(notice.streamName);
      else this.#drop(notice, failure);
    }
  }

  async #tryAppend(notice: StreamNotice): Promise<MillraceError | undefined> {
    try {
      await this.#options.append?.(notice);
      return undefined;
    } catch (thrown) {
      return asMillraceError(thrown);
    }
  }

  #drop({ streamName }: StreamNotice, failure: MillraceError): void {
    this.#droppedCount += 1;
    if (this.#refusing.has(streamName)) return;
    this.#refusing.add(streamName);
    const reason = `status messages are dropped: ${failure.message}`;
    this.#options.logger.warn(EventName.ExportNoticeDropped, { stream: streamName, reason });
  }

  #pause(): Promise<void> {
    return new Promise((resolve) => {
      this.#options.timers.setTimer(resolve, EXPORT_NOTICE_RETRY_MS);
    });
  }
}

/** A full stream is not: nobody may ever read it. */
function isTemporary({ code, retryable }: MillraceError): boolean {
  return retryable && code !== "STREAM_FULL";
}
