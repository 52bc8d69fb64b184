import { assert } from "../core/assert.ts";
import { EXPORT_CANCEL_NOTICE_TRIES } from "../core/limits.ts";
import { EventName } from "../observe/events.ts";
import type { Logger } from "../observe/logger.ts";
import type { CancelTask } from "./export-channel.ts";
import type { TaskPool } from "./export-pool.ts";
import type { Exporter } from "./exporter.ts";
import type { NoticeKeeper } from "./notice-keeper.ts";

interface CancelKeeperOptions {
  readonly pool: TaskPool;
  readonly notices: NoticeKeeper;
  readonly logger: Logger;
  /** An exporter may go on. */
  readonly onDone: () => void;
}

const REMOVED = "the stream or its export was removed";
const GONE = "the task expired or was overwritten";

/** Ends work of several requests that nobody will go on with, and has that told; one at a time. */
export class CancelKeeper {
  readonly #options: CancelKeeperOptions;
  #tail: Promise<void> = Promise.resolve();

  constructor(options: CancelKeeperOptions) {
    this.#options = options;
  }

  /** Of exporters that were removed. `released` settles when nothing is in flight for them. Resolves when all is ended. */
  async removed(exporters: readonly Exporter[], released: Promise<void>): Promise<void> {
    await released;
    await Promise.all(exporters.filter(mayBeUnderWay).map((exporter) => this.#queue(exporter, REMOVED)));
  }

  /** Of exporters whose message is gone from its stream with nothing behind it; another one would end it on its way. */
  look(exporters: Iterable<Exporter>): void {
    for (const exporter of exporters) {
      if (!exporter.isUnderWay || exporter.pendingMessages > 0 || exporter.isBusy) continue;
      exporter.isHeld = true;
      void this.#queue(exporter, GONE).then(() => {
        exporter.isUnderWay = false;
        exporter.isHeld = false;
        this.#options.onDone();
      });
    }
  }

  #queue(exporter: Exporter, reason: string): Promise<void> {
    const { streamId, name, directory } = exporter.stream;
    const { exporterId, identifier, destination } = exporter.settings;
    const place = { streamId, streamName: name, streamDirectory: directory, exporterId, identifier };
    this.#tail = this.#tail.then(() => this.#run({ kind: "cancel", ...place, destination, reason }));
    return this.#tail;
  }

  async #run(task: CancelTask): Promise<void> {
    const { pool, notices, logger } = this.#options;
    try {
      const result = await pool.run(task);
      assert(result.kind === "canceled", "a cancel task has its own result");
      // A stream that is being deleted cannot wait for another one for ever.
      let triesLeft = EXPORT_CANCEL_NOTICE_TRIES;
      await notices.deliver(result.notices, () => --triesLeft < 0);
    } catch (error) {
      const fields = { stream: task.streamName, exporter: task.identifier };
      logger.warn(EventName.ExportFailed, { ...fields, reason: "cannot end an upload in order" }, error);
    }
  }
}

/** Others have nothing that outlasts a request. */
function mayBeUnderWay({ settings }: Exporter): boolean {
  return settings.destination.kind === "s3TaskExecutor";
}
