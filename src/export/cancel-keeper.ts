import { assert } from "../core/assert.ts";
import { EXPORT_CANCEL_NOTICE_TRIES, EXPORT_CANCEL_RETRY_MS } from "../core/limits.ts";
import type { Timers } from "../core/timers.ts";
import { EventName } from "../observe/events.ts";
import type { Logger } from "../observe/logger.ts";
import type { CursorPlace } from "./cursor-file.ts";
import type { CancelTask } from "./export-channel.ts";
import type { TaskPool } from "./export-pool.ts";
import type { ExportedStream } from "./exported-stream.ts";
import type { Exporter } from "./exporter.ts";
import type { NoticeKeeper } from "./notice-keeper.ts";

interface CancelKeeperOptions {
  readonly pool: TaskPool;
  readonly notices: NoticeKeeper;
  readonly logger: Logger;
  readonly timers: Timers;
  /** An exporter may go on. */
  readonly onDone: () => void;
  /** Whether there is an exporter of that place. */
  readonly isTaken: (place: CursorPlace) => boolean;
  /** A later try has ended what was left: nothing keeps the rest of the exporter. */
  readonly onEnded: (place: CursorPlace) => void;
}

const REMOVED = "the stream or its export was removed";
const GONE = "the task expired or was overwritten";

/** Ends work of several requests that nobody will go on with, and has that told; one at a time. */
export class CancelKeeper {
  readonly #options: CancelKeeperOptions;
  #tail: Promise<unknown> = Promise.resolve();

  constructor(options: CancelKeeperOptions) {
    this.#options = options;
  }

  /**
   * Of exporters that were removed, when nothing is in flight for them. Resolves when there was a try each, with those that need
   * another one; never with any where this was the last, unless its thread died.
   */
  removed(
    exporters: readonly Exporter[],
    { isLastTry }: { readonly isLastTry: boolean },
  ): Promise<readonly CursorPlace[]> {
    const tasks = exporters.filter(mayBeUnderWay).map((one) => taskOf(one, { reason: REMOVED, isLastTry }));
    return this.#tryAll(tasks);
  }

  /** Of exporters that were removed in the time of another process. Resolves as `removed` does. */
  orphaned(
    { streamId, name }: Pick<ExportedStream, "streamId" | "name">,
    places: readonly CursorPlace[],
  ): Promise<readonly CursorPlace[]> {
    const stream = { streamId, streamName: name, identifier: "", destination: undefined };
    return this.#tryAll(
      places.map((place) => ({ kind: "cancel", ...stream, ...place, isLastTry: false, reason: REMOVED })),
    );
  }

  /** Of exporters whose message is gone from its stream with nothing behind it; another one would end it on its way. */
  look(exporters: Iterable<Exporter>): void {
    for (const exporter of exporters) {
      if (!exporter.isUnderWay || exporter.pendingMessages > 0 || exporter.isBusy) continue;
      const canceled = this.#queue(taskOf(exporter, { reason: GONE, isLastTry: true }));
      exporter.heldBy.add(canceled);
      void canceled.then(() => {
        exporter.isUnderWay = false;
        exporter.heldBy.delete(canceled);
        this.#options.onDone();
      });
    }
  }

  async #tryAll(tasks: readonly CancelTask[]): Promise<readonly CursorPlace[]> {
    const ended = await Promise.all(tasks.map((task) => this.#queue(task)));
    const left = tasks.filter((_, index) => ended[index] === false);
    for (const task of left)
      this.#options.timers.setTimer(() => void this.#tryAgain(task), EXPORT_CANCEL_RETRY_MS);
    return left;
  }

  /** An exporter of the same name that has begun meanwhile finds what was kept, and ends it. */
  async #tryAgain(task: CancelTask): Promise<void> {
    if (this.#options.isTaken(task)) return;
    const left = await this.#tryAll([task]);
    if (left.length === 0 && !this.#options.isTaken(task)) this.#options.onEnded(task);
  }

  #queue(task: CancelTask): Promise<boolean> {
    const done = this.#tail.then(() => this.#run(task));
    this.#tail = done;
    return done;
  }

  /** @returns whether nothing is left to be tried again */
  async #run(task: CancelTask): Promise<boolean> {
    const { pool, notices, logger } = this.#options;
    try {
      const result = await pool.run(task);
      assert(result.kind === "canceled", "a cancel task has its own result");
      // A stream that is being deleted cannot wait for another one for ever.
      let triesLeft = EXPORT_CANCEL_NOTICE_TRIES;
      await notices.deliver(result.notices, () => --triesLeft < 0);
      return result.isEnded;
    } catch (error) {
      const fields = { stream: task.streamName, exporter: task.identifier };
      logger.warn(EventName.ExportFailed, { ...fields, reason: "cannot end an upload in order" }, error);
      return false;
    }
  }
}

function taskOf(
  { stream: { streamId, name, directory }, settings }: Exporter,
  how: Pick<CancelTask, "reason" | "isLastTry">,
): CancelTask {
  const { exporterId, identifier, destination } = settings;
  const place = { streamId, streamName: name, streamDirectory: directory, exporterId, identifier };
  return { kind: "cancel", ...place, destination, ...how };
}

/** Others have nothing that outlasts a request. */
function mayBeUnderWay({ settings }: Exporter): boolean {
  return settings.destination.kind === "s3TaskExecutor";
}
