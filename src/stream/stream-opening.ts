import path from "node:path";

import type { MachineClock } from "../core/clock.ts";
import type { ClockWatch } from "../core/clock-watch.ts";
import { MillraceError, systemCode, textOf } from "../core/errors.ts";
import type { Random } from "../core/random.ts";
import { Persistence, type StreamDefinition } from "../core/stream-definition.ts";
import { DiskRoom } from "../log/disk-room.ts";
import type { LogPolicy } from "../log/log-policy.ts";
import type { SharedFile } from "../log/shared-memory-storage.ts";
import type { Storage } from "../log/storage.ts";
import { StreamLog } from "../log/stream-log.ts";
import type { StreamLogOptions } from "../log/stream-log-options.ts";
import { type StoredDefinition, readDefinitionFile, replaceDefinitionFile } from "./definition-file.ts";
import { factsOf, type OpenStream, progressOf } from "./open-stream.ts";
import { type RecoveryNote, recoveryNotes } from "./recovery-notes.ts";
import { makeStreamDirectory } from "./store-directory.ts";
import type { ControlRequest, StreamWorkerSettings } from "./stream-channel.ts";

export interface StreamOpeningOptions {
  /** For File streams, and for the definition of any. */
  readonly storage: Storage;
  /** For a Memory stream; `files` is what a dead worker left of it. */
  readonly memoryStorage: (files: readonly SharedFile[]) => Storage;
  readonly clock: MachineClock;
  readonly random: Random;
  readonly settings: StreamWorkerSettings;
}

/** What all streams of a thread share. */
export interface SharedByStreams {
  readonly watch: ClockWatch;
  /** Undefined where nothing is to be kept free. */
  readonly diskRoom: DiskRoom | undefined;
}

export function diskRoomOf({ storage, clock, settings }: StreamOpeningOptions): DiskRoom | undefined {
  const { storeDirectory: directory, diskFreeMinBytes: freeBytesMin } = settings;
  return freeBytesMin === 0 ? undefined : new DiskRoom({ storage, directory, clock, freeBytesMin });
}

type OpenRequest = Extract<ControlRequest, { kind: "open" }>;

export interface StreamOpening {
  readonly stream: OpenStream;
  readonly notes: RecoveryNote[];
  /** What was found stored, where that was in doubt. */
  readonly stored: StoredDefinition | undefined;
}

/**
 * Makes a stream, or opens it as the last process or worker left it.
 * @throws {MillraceError} STREAM_NOT_FOUND, STREAM_FENCED @throws the system's error
 */
export function openStream(
  asked: OpenRequest,
  options: StreamOpeningOptions,
  shared: SharedByStreams,
): StreamOpening {
  const { slot, directory } = asked;
  const isInDoubt = asked.isDefinitionInDoubt === true && isThere(options.storage, directory);
  const stored = isInDoubt ? readDefinitionFile(options.storage, directory) : undefined;
  const request = { ...asked, ...stored };
  const { definition } = request;
  const { log, notes } = openLog(request, options, shared);
  const isMemory = definition.persistence === Persistence.Memory;
  const stream: OpenStream = {
    slot,
    directory,
    isMemory,
    name: definition.name,
    log,
    flushOnWrite: definition.flushOnWrite && !isMemory,
    builder: undefined,
    gathered: [],
    gatheredCostBytes: 0,
    gatheredSequences: new Map(),
    held: [],
    waiting: [],
    isSyncing: false,
    isProgressDue: false,
    told: progressOf(log),
    toldFacts: factsOf(log),
  };
  return { stream, notes, stored };
}

function openLog(
  request: OpenRequest,
  { storage: fileStorage, memoryStorage, clock, random, settings }: StreamOpeningOptions,
  shared: SharedByStreams,
): { log: StreamLog; notes: RecoveryNote[] } {
  const { definition, options: streamOptions, directory, streamId, create, knownEnd } = request;
  const isMemory = definition.persistence === Persistence.Memory;
  const storage = isMemory ? memoryStorage(request.memory) : fileStorage;
  const isEndUnclean = request.isEndUnclean === true;
  const base = { storage, directory, streamId, epoch: settings.epoch, clock, watch: shared.watch, random };
  const rewriteBlockBytes = isMemory ? undefined : settings.blockBytes;
  const diskRoom = isMemory ? undefined : shared.diskRoom;
  const policy = policyOf(definition, settings);
  const quarantineDirectory = isMemory ? undefined : quarantineOf(settings.storeDirectory, streamId);
  const options = {
    ...base,
    knownEnd,
    isEndUnclean,
    policy,
    rewriteBlockBytes,
    diskRoom,
    quarantineDirectory,
  };
  if (create) {
    assertSameStore(fileStorage, settings, definition.name);
    const log = makeLog(options, isMemory ? fileStorage : undefined, definition.name);
    replaceDefinitionFile(fileStorage, directory, { definition, options: streamOptions });
    return { log, notes: [] };
  }
  if (!isThere(fileStorage, directory)) {
    throw new MillraceError("STREAM_NOT_FOUND", `The directory of stream "${definition.name}" is gone`);
  }
  // After a restart of the process a Memory stream is there again, empty, and numbers from 0.
  if (isMemory && request.memory.length === 0) return { log: StreamLog.create(options), notes: [] };
  // All that this process did not make was there when it opened the store.
  const { log, recovery } = StreamLog.open({ ...options, isNameDurable: true });
  return { log, notes: recoveryNotes(recovery) };
}

/** @throws {MillraceError} STORAGE_READ_ONLY when what has the store's name is not the store that the engine opened */
function assertSameStore(storage: Storage, settings: StreamWorkerSettings, name: string): void {
  const { storeDirectory, streamsIdentity } = settings;
  if (streamsIdentity === undefined) return;
  let found: string;
  try {
    found = storage.identify(`${storeDirectory}/streams`);
  } catch (cause) {
    throw notCreated(name, cause);
  }
  if (found === streamsIdentity) return;
  const text = `"${storeDirectory}" is not the store that the engine opened: it was replaced, or unmounted`;
  throw new MillraceError("STORAGE_READ_ONLY", `Cannot create stream "${name}": ${text}`);
}

function notCreated(name: string, cause: unknown): MillraceError {
  const text = `Cannot create stream "${name}": ${textOf(cause)}`;
  return new MillraceError("STORAGE_READ_ONLY", text, { cause });
}

/** Beside the streams: what is kept of a damaged file is no file of a stream. */
function quarantineOf(storeDirectory: string, streamId: string): string {
  return path.join(storeDirectory, "quarantine", streamId);
}

/**
 * The directory of a new stream, and of a Memory stream the one `besides` for its definition. Without a definition it is no
 * stream: the next start removes what a failure leaves. @throws {MillraceError} STORAGE_READ_ONLY
 */
function makeLog(options: StreamLogOptions, besides: Storage | undefined, name: string): StreamLog {
  try {
    const log = StreamLog.create(options);
    if (besides !== undefined) makeStreamDirectory(besides, options.directory);
    return log;
  } catch (cause) {
    throw notCreated(name, cause);
  }
}

/**
 * Replaces definition and options of an open stream: on the medium first, then for what comes.
 * @throws {MillraceError} UPDATE_FAILED for a maxSize below what the stream holds, STORAGE_READ_ONLY, UNKNOWN_OUTCOME
 */
export function updateStream(
  stream: OpenStream,
  { definition, options }: Extract<ControlRequest, { kind: "update" }>,
  { storage, settings }: Pick<StreamOpeningOptions, "storage" | "settings">,
): void {
  const { log, directory, isMemory } = stream;
  if (log.state === "fenced")
    throw new MillraceError(
      "STREAM_FENCED",
      `Cannot update stream "${definition.name}": ${log.lastFault?.message ?? "it is fenced"}`,
    );
  const isLess = definition.maxSize < log.maxSize;
  if (isLess && definition.maxSize < log.totalBytes) {
    const text = `maxSize ${definition.maxSize} is below the ${log.totalBytes} bytes that it holds`;
    throw new MillraceError("UPDATE_FAILED", `Cannot update stream "${definition.name}": ${text}`);
  }
  replaceDefinitionFile(storage, directory, { definition, options });
  log.setPolicy(policyOf(definition, settings));
  // The exporters may be others now: whoever knows them says anew what they do not need.
  log.release(0);
  stream.flushOnWrite = definition.flushOnWrite && !isMemory;
}

function isThere(storage: Storage, directory: string): boolean {
  try {
    storage.list(directory);
    return true;
  } catch (thrown) {
    if (systemCode(thrown) === "ENOENT") return false;
    throw thrown;
  }
}

/** What a definition and the settings ask of the log. */
function policyOf(definition: StreamDefinition, settings: StreamWorkerSettings): LogPolicy {
  const isMemory = definition.persistence === Persistence.Memory;
  return {
    maxSize: definition.maxSize,
    segmentSize: definition.streamSegmentSize,
    strategyOnFull: definition.strategyOnFull,
    flushOnWrite: definition.flushOnWrite && !isMemory,
    commitAlignBytes: isMemory ? 0 : settings.commitAlignBytes,
    syncBytesMax: settings.syncBytes,
    syncIntervalMs: settings.syncIntervalMs,
    ...(definition.timeToLiveMillis === undefined ? {} : { timeToLiveMs: definition.timeToLiveMillis }),
  };
}
