import type { CancelKeeper } from "./cancel-keeper.ts";
import type { CursorPlace } from "./cursor-file.ts";
import type { CursorKeeper } from "./cursor-keeper.ts";
import type { ExportedStream } from "./exported-stream.ts";
import type { Exporter } from "./exporter.ts";
import type { RunningWork } from "./running-work.ts";
import type { TendKeeper } from "./tend-keeper.ts";

interface ExporterLeftoversOptions {
  readonly keeper: CursorKeeper;
  readonly cancels: CancelKeeper;
  readonly tends: TendKeeper;
  readonly batches: RunningWork;
}

/** What is left of exporters that are no more: tasks that are out, uploads under way, files that grow, positions. */
export class ExporterLeftovers {
  readonly #options: ExporterLeftoversOptions;

  constructor(options: ExporterLeftoversOptions) {
    this.#options = options;
  }

  /** Of a stream that is met again: exporters that it had when the process before ended, and has no more. */
  clearOrphans(stream: ExportedStream, exporters: readonly Exporter[]): void {
    const { keeper, cancels, tends } = this.#options;
    const kept = exporters.map(({ settings }) => settings);
    const orphans = keeper.orphans(kept, stream.directory);
    const ended = Promise.all([cancels.orphaned(stream, orphans), tends.adopt(stream, exporters)]);
    if (!stream.isMemory)
      keeper.forget(
        orphans,
        ended.then(([left]) => left),
      );
  }

  /** Of exporters that a change has taken from their stream. */
  clear(stream: ExportedStream, removed: readonly Exporter[]): void {
    const places = removed.map((exporter) => exporter.place);
    // A Memory stream has no positions, but who comes under the same name waits for the end of the one before there too.
    this.#options.keeper.forget(places, this.#released(removed, stream.streamId, { isLastTry: false }));
  }

  /** Of exporters whose directory may be removed next. Resolves when no task has anything of theirs, and nothing is under way. */
  async end(removed: readonly Exporter[], streamId: string): Promise<void> {
    await this.#released(removed, streamId, { isLastTry: true });
    await this.#options.keeper.settled();
  }

  /** Resolves when nothing is under way, with what has to be tried again. */
  async #released(
    removed: readonly Exporter[],
    streamId: string,
    how: { readonly isLastTry: boolean },
  ): Promise<readonly CursorPlace[]> {
    const { cancels, tends, batches } = this.#options;
    const left = await cancels.removed(removed, batches.ofStream(streamId), how);
    await tends.removed(removed, Promise.resolve());
    return left;
  }
}
