import { asMillraceError, MillraceError, textOf } from "../core/errors.ts";
import { MESSAGE_OVERHEAD_BYTES } from "../core/limits.ts";
import {
  SET_ASIDE_BYTES_DEFAULT,
  SET_ASIDE_IN_FLIGHT_BYTES_MAX,
  SET_ASIDE_NAMES_MAX,
} from "../core/set-aside-limits.ts";
import {
  emptyExportDefinition,
  Persistence,
  StrategyOnFull,
  type StreamDefinition,
} from "../core/stream-definition.ts";
import { type StreamOptions, streamOptionsDefault } from "../core/stream-options.ts";
import { encodeEntry } from "../export/set-aside-entry.ts";
import type { KeptAside, SetAsideRequest } from "../export/set-aside-keeper.ts";
import { EventName } from "../observe/events.ts";
import type { Logger } from "../observe/logger.ts";
import { assertOpen } from "./catalog.ts";
import { companionName } from "./companion-name.ts";
import type { CompanionOwner, EngineContext } from "./engine-context.ts";
import { appendInternally } from "./internal-append.ts";
import { changeStream } from "./stream-change.ts";
import { createStream } from "./stream-creation.ts";
import type { StreamEntry } from "./stream-entry.ts";

/** Segments of a companion stream, so that overwriting the oldest takes a small part of it. */
const SEGMENTS_OF_COMPANION = 16;

/**
 * The streams that hold what destinations will never take: of each stream one, made when the first message is set aside, and
 * an ordinary one but for an option that says whose it is. Deleting a stream leaves its companion.
 */
export class CompanionStreams implements CompanionOwner {
  readonly #engine: EngineContext;
  readonly #logger: Logger;
  readonly #making = new Map<string, Promise<StreamEntry>>();

  constructor(engine: EngineContext, logger: Logger) {
    this.#engine = engine;
    this.#logger = logger;
  }

  of(streamName: string): StreamEntry | undefined {
    for (const entry of this.#engine.catalog.entries) {
      if (entry.options.companionOf === streamName && entry.lifecycle !== "deleting") return entry;
    }
    return undefined;
  }

  /**
   * Stores messages, and makes the companion where there is none. Resolves when those that it could store are on the medium.
   * @throws {MillraceError} STREAM_LIMIT, SERVER_BUSY, STREAM_FENCED and others: it could store none
   */
  async keep({ origin, messages }: SetAsideRequest): Promise<KeptAside> {
    const companion = await this.#opened(origin.streamName);
    const { name, maxSize } = companion.definition;
    const bytesMax = Math.min(this.#engine.messageBytesMax, maxSize - MESSAGE_OVERHEAD_BYTES);
    const kept: number[] = [];
    let error = "";
    let at = 0;
    while (at < messages.length && error === "") {
      const appends: Promise<void>[] = [];
      for (let bytes = 0; at < messages.length && bytes < SET_ASIDE_IN_FLIGHT_BYTES_MAX; at += 1) {
        const message = messages[at]!;
        const entry = encodeEntry(message, origin, bytesMax);
        bytes += entry.length;
        const append = appendInternally(this.#engine, name, entry);
        appends.push(append.then(() => void kept.push(message.sequence)));
      }
      for (const outcome of await Promise.allSettled(appends)) {
        if (outcome.status === "rejected") error ||= `stream "${name}": ${textOf(outcome.reason)}`;
      }
    }
    return { streamName: name, kept, error };
  }

  async configure(streamName: string, options: StreamOptions): Promise<void> {
    const companion = this.of(streamName);
    if (companion === undefined) return;
    const { maxSize, strategyOnFull, streamSegmentSize } = shapeOf(options);
    await changeStream(this.#engine, companion, (present) => ({
      definition: { ...present.definition, maxSize, strategyOnFull, streamSegmentSize },
      options: present.options,
    }));
  }

  async #opened(streamName: string): Promise<StreamEntry> {
    let making = this.#making.get(streamName);
    const companion = making === undefined ? this.of(streamName) : undefined;
    if (companion !== undefined) {
      assertOpen(companion);
      return companion;
    }
    making ??= this.#make(streamName).finally(() => this.#making.delete(streamName));
    this.#making.set(streamName, making);
    return making;
  }

  async #make(streamName: string): Promise<StreamEntry> {
    const { catalog } = this.#engine;
    const options = { ...streamOptionsDefault, companionOf: streamName };
    for (let attempt = 1; attempt <= SET_ASIDE_NAMES_MAX; attempt += 1) {
      const name = companionName(streamName, attempt);
      if (name === streamName) continue;
      try {
        const source = catalog.entryOf(streamName);
        const definition = { ...shapeOf(source?.options ?? streamOptionsDefault), name };
        await createStream(this.#engine, { definition, options });
      } catch (thrown) {
        // A stream of somebody else has the name.
        if (asMillraceError(thrown).code === "STREAM_EXISTS") continue;
        throw thrown;
      }
      const reason = attempt === 1 ? {} : { reason: `a stream "${companionName(streamName, 1)}" was there` };
      this.#logger.info(EventName.CompanionCreated, { stream: streamName, into: name, ...reason });
      return catalog.get(name);
    }
    const text = `Cannot find a name for what is set aside of stream "${streamName}" in ${SET_ASIDE_NAMES_MAX} tries`;
    throw new MillraceError("STREAM_EXISTS", text);
  }
}

function shapeOf({ setAside = {} }: StreamOptions): Omit<StreamDefinition, "name"> {
  const { maxSize = SET_ASIDE_BYTES_DEFAULT, strategyOnFull = "OverwriteOldestData" } = setAside;
  return {
    maxSize,
    streamSegmentSize: Math.ceil(maxSize / SEGMENTS_OF_COMPANION),
    strategyOnFull: StrategyOnFull[strategyOnFull],
    persistence: Persistence.File,
    // What is acknowledged here is passed there.
    flushOnWrite: true,
    exportDefinition: emptyExportDefinition,
  };
}
