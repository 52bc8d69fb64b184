import type { CancelKeeper } from "./cancel-keeper.ts";
import type { CursorPlace } from "./cursor-file.ts";
import type { CursorKeeper } from "./cursor-keeper.ts";
import type { ExportedStream } from "./exported-stream.ts";
import type { SourceState } from "./export-source.ts";
import type { Exporter } from "./exporter.ts";
import { isRedriveId, redriveIdOf } from "./redrives.ts";
import type { RunningWork } from "./running-work.ts";
import type { TendKeeper } from "./tend-keeper.ts";

interface ExporterLeftoversOptions {
  readonly keeper: CursorKeeper;
  readonly cancels: CancelKeeper;
  readonly tends: TendKeeper;
  readonly running: RunningWork;
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

  /**
   * Of redrives, whose uploads lie with the companion and outlast a restart that they do not: ends those of exporters that the
   * companion's stream does not have any more. `changed` is either of them.
   */
  clearRedrives(changed: SourceState, all: Iterable<SourceState>): void {
    for (const other of all) {
      this.#clearRedrives(changed, other);
      this.#clearRedrives(other, changed);
    }
  }

  #clearRedrives(companion: SourceState, source: SourceState): void {
    if (companion.companionOf !== source.stream.name) return;
    const { keeper, cancels, running } = this.#options;
    const { streamId, directory } = companion.stream;
    const kept = source.exporters.map(({ settings }) => redriveIdOf(settings.exporterId));
    const orphans = keeper.orphanedRedrives(kept, directory);
    if (orphans.length === 0) return;
    // Where it was running a moment ago, it is ended on its own.
    const { name } = source.stream;
    void running.ofStream(streamId).then(() => cancels.orphaned({ streamId, name }, orphans));
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

  /** Of a stream whose directory may be removed next, when its redrives have ended too. Resolves as `end`. */
  async endStream({ stream, exporters }: SourceState, redriven: Promise<unknown>): Promise<void> {
    await Promise.all([redriven, this.end(exporters, stream.streamId)]);
    this.#options.tends.leave(stream);
  }

  /** Its upload has ended. */
  forget(place: CursorPlace): void {
    // What a redrive brought through is not sent by a later one.
    if (!isRedriveId(place.exporterId)) this.#options.keeper.forget([place], Promise.resolve([]));
  }

  /** Resolves when nothing is under way, with what has to be tried again. */
  async #released(
    removed: readonly Exporter[],
    streamId: string,
    how: { readonly isLastTry: boolean },
  ): Promise<readonly CursorPlace[]> {
    const { cancels, tends, running } = this.#options;
    await running.ofStream(streamId);
    const left = await cancels.removed(removed, how);
    await tends.removed(removed);
    return left;
  }
}
