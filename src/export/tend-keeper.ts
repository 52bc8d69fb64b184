import path from "node:path";
import { assert } from "../core/assert.ts";
import type { Clock } from "../core/clock.ts";
import { asMillraceError, textOf } from "../core/errors.ts";
import { EXPORT_ENDS_LEFT_MAX, EXPORT_TEND_MS_MAX, EXPORT_TEND_RETRY_MS } from "../core/limits.ts";
import type { Timers } from "../core/timers.ts";
import { EventName } from "../observe/events.ts";
import type { Logger } from "../observe/logger.ts";
import type { Storage } from "../log/storage.ts";
import { type CursorPlace, cursorPath } from "./cursor-file.ts";
import { DeletedNotes } from "./deleted-notes.ts";
import type { BatchResult, TendResult, TendTask } from "./export-channel.ts";
import type { TaskPool } from "./export-pool.ts";
import type { ExportedStream } from "./exported-stream.ts";
import type { Exporter } from "./exporter.ts";
import type { ExporterSettings } from "./exporter-settings.ts";
import { notedExporterIds, readPartNotes } from "./part-notes.ts";
import type { RunningWork } from "./running-work.ts";

interface TendKeeperOptions {
  readonly pool: TaskPool;
  readonly storage: Storage;
  readonly storeDirectory: string;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly logger: Logger;
  /** What runs for streams: a removal waits for it. */
  readonly running: RunningWork;
  /** An exporter may go on. */
  readonly onDone: () => void;
}

/** What is known of an exporter whose destination may have something to do without a batch. */
interface Tending {
  /** What was done last was done with them. */
  settings: ExporterSettings;
  /** Monotonic; Infinity while there is nothing to do. */
  dueMs: number;
  error: string;
}

/** Of an exporter that is gone: where its files grow. */
interface End {
  readonly place: CursorPlace;
  readonly stream: Pick<ExportedStream, "streamId" | "name">;
  /** Monotonic. */
  dueMs: number;
  /** Of the last try. */
  readonly error: string;
}

interface Answer extends Pick<TendResult, "error" | "dueInMs"> {
  /** Settles when the task has really ended, which may be later than anybody waits for it. */
  readonly over: Promise<unknown>;
}

/**
 * Has destinations do what is due without a batch: files of an exporter that has nothing to send, sends no more, or is gone, are
 * completed. One task at a time, and none while the exporter has another. A directory may hang, as those of a network do: nobody waits
 * for longer than EXPORT_TEND_MS_MAX, and until the task that hangs has ended no other one starts. What an exporter that is gone has
 * left is tried until it is done, or somebody goes on with it.
 */
export class TendKeeper {
  readonly #options: TendKeeperOptions;
  readonly #deleted: DeletedNotes;
  readonly #known = new WeakMap<Exporter, Tending>();
  /** Places of exporters that are gone: who comes there anew waits. */
  readonly #ending = new Map<string, Promise<unknown>>();
  /** What could not be ended, by place. */
  readonly #left = new Map<string, End>();
  #tail: Promise<unknown> = Promise.resolve();
  #hanging: Promise<unknown> | undefined;

  constructor(options: TendKeeperOptions) {
    this.#options = options;
    this.#deleted = new DeletedNotes(options);
    this.#keepTrying(() => this.#deleted.all());
  }

  /** Ends what exporters left of which the stream has none any more, or none that writes files: the process before did not. */
  async adopt(stream: ExportedStream, exporters: readonly Exporter[]): Promise<void> {
    const { directory: streamDirectory, name } = stream;
    const own = exporters.filter(writesFiles).map(({ settings }) => settings.exporterId);
    const left = this.#notedIn(streamDirectory, name).filter((exporterId) => !own.includes(exporterId));
    await Promise.all(left.map((exporterId) => this.#end({ streamDirectory, exporterId }, stream)));
  }

  /** Of exporters that were removed, when nothing is in flight for them. Resolves when there was a try each. */
  async removed(exporters: readonly Exporter[]): Promise<void> {
    const local = exporters.filter(writesFiles);
    await Promise.all(local.map(({ place, stream }) => this.#end(place, stream)));
  }

  /** Of a stream that has no exporters any more, and whose directory may be removed next: what is not completed is known without it. */
  leave({ streamId, name, directory }: ExportedStream): void {
    this.#keepTrying(() => this.#deleted.keep(directory), { streamId, name });
  }

  /** A batch has ended; `result` is undefined where it was lost with its thread. */
  note(exporter: Exporter, result: BatchResult | undefined): void {
    if (!writesFiles(exporter)) return;
    const tending = this.#tendingOf(exporter);
    if (result === undefined || isOver(exporter)) tending.dueMs = this.#nowMs();
    else if (result.tendInMs !== undefined)
      // The batch does not know of other directories, of which one may be tried again before.
      tending.dueMs = Math.min(tending.dueMs, this.#nowMs() + result.tendInMs);
  }

  /** Starts what is due; asked before anything else starts, so that who waits for the end of another does. @returns when the next will be; Infinity if only an event can change that. */
  look(exporters: Iterable<Exporter>): number {
    const nowMs = this.#nowMs();
    const local = [...exporters].filter(writesFiles);
    let wakeAtMs = this.#endAgain(local, nowMs);
    for (const exporter of local) {
      const tending = this.#tendingOf(exporter);
      this.#holdForEnd(exporter);
      // What is under way began with the settings before: those of now are looked at when it has ended.
      if (exporter.isBusy) continue;
      if (tending.settings !== exporter.settings) {
        // It may be disabled now, or write elsewhere.
        tending.settings = exporter.settings;
        tending.dueMs = nowMs;
      }
      if (tending.dueMs > nowMs) wakeAtMs = Math.min(wakeAtMs, tending.dueMs);
      else this.#tend(exporter, tending);
    }
    return wakeAtMs;
  }

  #tendingOf(exporter: Exporter): Tending {
    let tending = this.#known.get(exporter);
    if (tending === undefined) {
      // What the process before left is looked at at once.
      const dueMs = this.#hasNotes(exporter) ? this.#nowMs() : Infinity;
      tending = { settings: exporter.settings, dueMs, error: "" };
      this.#known.set(exporter, tending);
    }
    return tending;
  }

  #keepTrying(places: () => CursorPlace[], stream?: End["stream"]): void {
    try {
      const found = places();
      for (const place of found) {
        const streamId = path.basename(place.streamDirectory);
        this.#tryLater({
          place,
          stream: stream ?? { streamId, name: streamId },
          dueMs: this.#nowMs(),
          error: "",
        });
      }
      if (found.length > 0) this.#options.onDone();
    } catch (error) {
      this.#warn(textOf(error), stream === undefined ? {} : { stream: stream.name });
    }
  }

  /** @returns as `look` */
  #endAgain(exporters: readonly Exporter[], nowMs: number): number {
    // The end of what hangs is an event.
    if (this.#left.size === 0 || this.#hanging !== undefined) return Infinity;
    // They go on with what was left there.
    for (const { place } of exporters) this.#left.delete(cursorPath(place));
    let wakeAtMs = Infinity;
    for (const [key, end] of this.#left) {
      if (end.dueMs <= nowMs && this.#deleted.isEarly(end.place)) end.dueMs = nowMs + EXPORT_TEND_RETRY_MS;
      if (end.dueMs > nowMs) {
        wakeAtMs = Math.min(wakeAtMs, end.dueMs);
        continue;
      }
      this.#left.delete(key);
      void this.#end(end.place, end.stream, end.error);
    }
    return wakeAtMs;
  }

  #tend(exporter: Exporter, tending: Tending): void {
    const { place, settings, stream } = exporter;
    tending.dueMs = Infinity;
    const isLast = settings.disabled || isOver(exporter);
    const task = { kind: "tend", ...place, destination: settings.destination, isLast } as const;
    const answered = this.#queue(task);
    const ended = answered.then(({ error, dueInMs }) => {
      if (error !== "" && error !== tending.error)
        this.#warn(error, { stream: stream.name, exporter: settings.identifier });
      tending.error = error;
      const inMs = error === "" ? (dueInMs ?? Infinity) : EXPORT_TEND_RETRY_MS;
      tending.dueMs = this.#nowMs() + inMs;
    });
    this.#options.running.add(stream.streamId, ended);
    this.#hold(exporter, Promise.all([ended, answered.then(({ over }) => over)]));
  }

  /** Nothing starts for the exporter until `work` has settled. */
  #hold(exporter: Exporter, work: Promise<unknown>): void {
    exporter.heldBy.add(work);
    void work.then(() => {
      exporter.heldBy.delete(work);
      this.#options.onDone();
    });
  }

  #holdForEnd(exporter: Exporter): void {
    if (this.#ending.size === 0) return;
    const ending = this.#ending.get(cursorPath(exporter.place));
    if (ending !== undefined && !exporter.heldBy.has(ending)) this.#hold(exporter, ending);
  }

  /** Completes what an exporter left that is gone; later if it cannot be now. Resolves when it was tried. */
  #end(place: CursorPlace, stream: End["stream"], errorBefore = ""): Promise<void> {
    const key = cursorPath(place);
    const answered = this.#queue({ kind: "tend", ...place, destination: undefined, isLast: true });
    const over = Promise.all([this.#ending.get(key), answered.then((answer) => answer.over)]);
    this.#ending.set(key, over);
    void over.then(() => {
      if (this.#ending.get(key) === over) this.#ending.delete(key);
    });
    const tried = answered.then(({ error }) => {
      if (error === "") {
        this.#deleted.clear(place.streamDirectory);
        return;
      }
      if (error !== errorBefore) this.#warn(error, { stream: stream.name });
      this.#tryLater({ place, stream, dueMs: this.#nowMs() + EXPORT_TEND_RETRY_MS, error });
      this.#options.onDone();
    });
    this.#options.running.add(stream.streamId, tried);
    return tried;
  }

  #tryLater(end: End): void {
    const key = cursorPath(end.place);
    if (this.#left.has(key) || this.#left.size < EXPORT_ENDS_LEFT_MAX) this.#left.set(key, end);
    else this.#warn("too many wait already, the next start tries it again", { stream: end.stream.name });
  }

  #queue(task: TendTask): Promise<Answer> {
    const answered = this.#tail.then(() => this.#answer(task));
    this.#tail = answered;
    return answered;
  }

  async #answer(task: TendTask): Promise<Answer> {
    if (this.#hanging !== undefined)
      return { error: "another directory does not answer", over: Promise.resolve() };
    const over = this.#run(task);
    let cancel: () => void = () => undefined;
    const late = new Promise<undefined>((resolve) => {
      cancel = this.#options.timers.setTimer(() => resolve(undefined), EXPORT_TEND_MS_MAX);
    });
    const result = await Promise.race([over, late]);
    cancel();
    if (result !== undefined) return { ...result, over };
    this.#hanging = over;
    void over.then(() => {
      this.#hanging = undefined;
      for (const end of this.#left.values()) end.dueMs = this.#nowMs();
      this.#options.onDone();
    });
    return { error: `the directory does not answer within ${EXPORT_TEND_MS_MAX / 1000} s`, over };
  }

  async #run(task: TendTask): Promise<TendResult> {
    try {
      const result = await this.#options.pool.run(task);
      assert(result.kind === "tended", "a tend task has its own result");
      return result;
    } catch (thrown) {
      return { kind: "tended", error: asMillraceError(thrown).message };
    }
  }

  #hasNotes({ place, stream, settings }: Exporter): boolean {
    try {
      return readPartNotes(this.#options.storage, place).length > 0;
    } catch (error) {
      this.#warn(textOf(error), { stream: stream.name, exporter: settings.identifier });
      return true;
    }
  }

  #notedIn(streamDirectory: string, streamName: string): string[] {
    try {
      return notedExporterIds(this.#options.storage, streamDirectory);
    } catch (error) {
      this.#warn(textOf(error), { stream: streamName });
      return [];
    }
  }

  #warn(error: string, about: { readonly stream?: string; readonly exporter?: string }): void {
    const reason = `a file that grows cannot be completed: ${error}`;
    this.#options.logger.warn(EventName.ExportFailed, { ...about, reason });
  }

  #nowMs(): number {
    return this.#options.clock.monotonicMs();
  }
}

function writesFiles({ settings }: Exporter): boolean {
  return settings.destination.kind === "file";
}

/** A redrive has sent all that it was asked for. */
function isOver({ settings, pendingMessages }: Exporter): boolean {
  return settings.isRedrive === true && pendingMessages === 0;
}
