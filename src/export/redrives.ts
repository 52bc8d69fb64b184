import { assert } from "../core/assert.ts";
import { STREAM_START } from "../core/stream-ledger.ts";
import type { CursorPlace } from "./cursor-file.ts";
import type { CursorRecord } from "./cursor-layout.ts";
import type { ExportedStream } from "./exported-stream.ts";
import type { SourceState } from "./export-source.ts";
import { Exporter } from "./exporter.ts";
import type { ExporterSettings } from "./exporter-settings.ts";

/** What a companion stream holds of one exporter of the stream whose companion it is. */
export interface RedriveTarget {
  readonly companionId: string;
  readonly sourceId: string;
  readonly identifier: string;
}

/** How far a redrive is, in messages of the companion stream and since it was last asked for. */
export interface RedriveState {
  readonly identifier: string;
  /** Everything below was sent again, or is another exporter's. */
  readonly position: number;
  /** What stands there was set aside after the command, and waits for the next one. */
  readonly endSequence: number;
  readonly acceptedMessages: number;
  /** Refused once more: they stand in the companion stream again. */
  readonly setAsideMessages: number;
  /** Of the last attempt; empty when it succeeded. */
  readonly errorMessage: string;
}

interface RedrivesOptions {
  readonly sourceOf: (streamId: string) => SourceState | undefined;
  readonly readCursor: (place: CursorPlace) => CursorRecord | undefined;
  /** The exporter may be given tasks from now on. */
  readonly onAdded: (exporter: Exporter) => void;
  /** Or no more. Resolves when no task has anything of it. */
  readonly onRemoved: (exporter: Exporter) => Promise<void>;
  /** There is more to send. */
  readonly onStarted: () => void;
}

/** What an engine asks of them. All but `states` want both streams to be there, and the exporter. */
export interface RedriveOwner {
  /** Whether tasks of a redrive that has ended are still out: the cursor is theirs. */
  isEnding(target: RedriveTarget): boolean;
  /** Where in the companion stream the next command begins. */
  position(target: RedriveTarget): number;
  /** The kind that its exporter is configured as. */
  kindOf(target: RedriveTarget): string;
  /** Sends what the companion stream holds by now of the exporter, from where the last redrive ended. */
  start(target: RedriveTarget): void;
  /** Of the exporters of a stream that were asked to send again since this process started. */
  states(sourceId: string): RedriveState[];
}

interface Redrive extends RedriveTarget {
  readonly exporter: Exporter;
  /** Of the command. */
  startedWith: Pick<RedriveState, "acceptedMessages" | "setAsideMessages">;
  /** Otherwise only its position was asked for. */
  isAsked: boolean;
}

/** Behind the id of the exporter whose messages are sent again; so that its cursor is not taken for one that was left behind. */
const ID_SUFFIX = "-redrive";

/** The id of the redrive of the exporter of this id. */
export function redriveIdOf(exporterId: string): string {
  return `${exporterId}${ID_SUFFIX}`;
}

/** Whether the id, and the cursor under it, are those of a redrive. */
export function isRedriveId(exporterId: string): boolean {
  return exporterId.endsWith(ID_SUFFIX);
}

/**
 * Sends what was set aside again, on command: for each exporter of the companion's stream another one, of the same settings, that
 * reads the companion up to where it ended when the command came. Its cursor lies with the companion's, so that what was
 * accepted once is not sent by a later redrive; a restart ends the redrive, and the next command goes on with it.
 */
export class Redrives implements RedriveOwner {
  readonly #options: RedrivesOptions;
  readonly #redrives = new Map<string, Redrive>();
  /** Those that have ended, while a task may have their cursor. */
  readonly #ending = new Map<string, Promise<void>>();

  constructor(options: RedrivesOptions) {
    this.#options = options;
  }

  isEnding(target: RedriveTarget): boolean {
    return this.#ending.has(keyOf(target));
  }

  position(target: RedriveTarget): number {
    const { exporter } = this.#redriveOf(target);
    return exporter.nextSequence;
  }

  kindOf(target: RedriveTarget): string {
    return this.#redriveOf(target).exporter.settings.kind;
  }

  start(target: RedriveTarget): void {
    const redrive = this.#redriveOf(target);
    const companion = this.#options.sourceOf(target.companionId);
    assert(companion !== undefined, `companion ${target.companionId} was not added`);
    const { stream } = redrive.exporter;
    if (redrive.exporter.pendingMessages === 0) redrive.startedWith = totalsOf(redrive.exporter);
    stream.syncedEnd = companion.stream.syncedEnd;
    redrive.isAsked = true;
    this.#options.onStarted();
  }

  states(sourceId: string): RedriveState[] {
    return [...this.#redrives.values()]
      .filter((redrive) => redrive.sourceId === sourceId && redrive.isAsked)
      .map(({ exporter, identifier, startedWith }) => {
        const now = totalsOf(exporter);
        return {
          identifier,
          position: exporter.nextSequence,
          endSequence: exporter.stream.syncedEnd.sequence,
          acceptedMessages: now.acceptedMessages - startedWith.acceptedMessages,
          setAsideMessages: now.setAsideMessages - startedWith.setAsideMessages,
          errorMessage: exporter.status().errorMessage,
        };
      });
  }

  /** The companion reaches elsewhere. */
  noteProgress(companionId: string): void {
    for (const redrive of this.#redrives.values()) {
      if (redrive.companionId !== companionId) continue;
      const { stream } = this.#options.sourceOf(companionId)!;
      redrive.exporter.stream.oldest = stream.oldest;
      redrive.exporter.stream.next = stream.next;
    }
  }

  /** The exporters of a stream were configured: a redrive follows, or ends with the exporter that it is for. */
  follow(sourceId: string): void {
    for (const [key, redrive] of this.#redrives) {
      if (redrive.sourceId !== sourceId) continue;
      const of = this.#exporterOf(redrive);
      const settings = of && settingsOf(of);
      if (settings?.exporterId === redrive.exporter.settings.exporterId) redrive.exporter.configure(settings);
      else this.#end(key, redrive);
    }
  }

  /** A stream is removed: what is sent again of it, or from it, ends. Resolves when no task has anything in its directory. */
  async forget(streamId: string): Promise<void> {
    for (const [key, redrive] of this.#redrives) {
      if (redrive.sourceId === streamId || redrive.companionId === streamId) this.#end(key, redrive);
    }
    const isInside = ([key]: [string, Promise<void>]): boolean => key.startsWith(`${streamId}/`);
    await Promise.all([...this.#ending].filter(isInside).map(([, ended]) => ended));
  }

  #end(key: string, { exporter }: Redrive): void {
    this.#redrives.delete(key);
    const ended = this.#options.onRemoved(exporter).finally(() => this.#ending.delete(key));
    this.#ending.set(key, ended);
  }

  #redriveOf(target: RedriveTarget): Redrive {
    const key = keyOf(target);
    const known = this.#redrives.get(key);
    if (known !== undefined) return known;
    assert(!this.#ending.has(key), `the cursor of redrive ${key} is another one's`);
    const { companionId, sourceId } = target;
    const [companion, source] = [companionId, sourceId].map((id) => this.#options.sourceOf(id));
    const of = this.#exporterOf(target);
    const settings = of && settingsOf(of);
    assert(companion !== undefined && source !== undefined && settings !== undefined, `redrive of ${key}`);
    const { directory, drops, oldest, next } = companion.stream;
    // Destinations see the stream that the messages came from.
    const stream: ExportedStream = {
      ...{ streamId: companionId, name: source.stream.name, directory, isMemory: false, drops, oldest, next },
      syncedEnd: STREAM_START,
    };
    const { exporterId } = settings;
    const stored = this.#options.readCursor({ streamDirectory: directory, exporterId });
    const exporter = new Exporter(stream, settings, stored, of?.cap);
    const redrive = { ...target, exporter, startedWith: totalsOf(exporter), isAsked: false };
    this.#redrives.set(key, redrive);
    this.#options.onAdded(exporter);
    return redrive;
  }

  #exporterOf({ sourceId, identifier }: RedriveTarget): Exporter | undefined {
    const source = this.#options.sourceOf(sourceId);
    return source?.exporters.find(({ settings }) => settings.identifier === identifier);
  }
}

function keyOf({ companionId, identifier }: RedriveTarget): string {
  return `${companionId}/${identifier}`;
}

/** Those of the exporter, but from the beginning on, at once, and without a share of its own. */
function settingsOf({ settings }: Exporter): ExporterSettings {
  const exporterId = redriveIdOf(settings.exporterId);
  const ofRedrive = {
    exporterId,
    isRedrive: true,
    startSequence: 0,
    batchIntervalMs: 0,
    minSharePercent: 0,
  } as const;
  return { ...settings, ...ofRedrive };
}

function totalsOf(exporter: Exporter): Redrive["startedWith"] {
  // The time would only stamp losses, which nobody looks at here.
  const { exported, setAside } = exporter.ledger(0).accounts;
  return { acceptedMessages: exported.messages, setAsideMessages: setAside.messages };
}
