import type { StreamPlace } from "../core/stream-ledger.ts";
import { ClockWatch } from "../core/clock-watch.ts";
import type { MachineClock } from "../core/clock.ts";
import { asMillraceError } from "../core/errors.ts";
import type { Random } from "../core/random.ts";
import { Persistence } from "../core/stream-definition.ts";
import { withBallast } from "../log/ballast.ts";
import { ChangeRecorder, type StorageChange } from "../log/change-recorder.ts";
import type { Storage } from "../log/storage.ts";
import { type FencedDirectory, openStoreDirectory, type StoredStream } from "./store-directory.ts";
import { ensureStoreFormat } from "./store-format.ts";
import type { StreamWorkerSettings } from "./stream-channel.ts";
import { openStream } from "./stream-opening.ts";

export interface StoreRepairOptions {
  /** The machine's, or an overlay over it to learn what would be done. */
  readonly storage: Storage;
  readonly storeDirectory: string;
  /** Of the program, for the store's format file. */
  readonly version: string;
  readonly clock: MachineClock;
  readonly random: Random;
  readonly settings: Omit<StreamWorkerSettings, "epoch">;
  /** Messages of a stream below were exported, so they were durable. */
  readonly exportedEnd: (storage: Storage, streamDirectory: string) => StreamPlace;
}

export interface StreamRepair {
  readonly streamId: string;
  readonly name: string;
  readonly persistence: Persistence;
  /** What recovery found, a sentence each. */
  readonly notes: readonly string[];
  readonly changes: readonly StorageChange[];
  /** Why it could not be recovered; its files are as they were. */
  readonly failure: string | undefined;
  /** What an engine serves afterwards; equal when there is nothing. */
  readonly oldestSequence: number;
  readonly nextSequence: number;
}

export interface StoreRepair {
  /** Starts that were counted, with this one. */
  readonly epoch: number;
  /** To the store's own files, and to what was left of streams that are no more. */
  readonly changes: readonly StorageChange[];
  readonly streams: readonly StreamRepair[];
  /** Directories that no engine serves. */
  readonly leftAlone: readonly FencedDirectory[];
}

export interface RepairProgress {
  readonly doneStreams: number;
  readonly totalStreams: number;
  readonly label: string;
}

/**
 * Does what the start of an engine does to a store, by the same code, and stops cleanly: the store is locked, or the storage an
 * overlay. @throws {MillraceError} or the system's error when the store cannot be opened at all
 */
export function* repairStore(options: StoreRepairOptions): Generator<RepairProgress, StoreRepair, undefined> {
  const { storeDirectory, version } = options;
  const recorder = new ChangeRecorder(withBallast(options.storage, storeDirectory));
  ensureStoreFormat(recorder, storeDirectory, version);
  const { epoch, streams: stored, fenced } = openStoreDirectory({ storage: recorder, storeDirectory });
  const changes = recorder.takeChanges();
  const streams: StreamRepair[] = [];
  for (const [index, stream] of stored.entries()) {
    yield { doneStreams: index, totalStreams: stored.length, label: stream.definition.name };
    streams.push(repairStream(stream, { ...options, recorder, epoch }));
  }
  streams.sort((a, b) => a.name.localeCompare(b.name));
  return { epoch, changes, streams, leftAlone: fenced };
}

function repairStream(
  stored: StoredStream,
  options: StoreRepairOptions & { readonly recorder: ChangeRecorder; readonly epoch: number },
): StreamRepair {
  const { recorder } = options;
  const { streamId, definition } = stored;
  const { name, persistence } = definition;
  const base = { streamId, name, persistence, oldestSequence: 0, nextSequence: 0 };
  // It begins empty with every start.
  if (persistence === Persistence.Memory) return { ...base, notes: [], changes: [], failure: undefined };
  try {
    const recovered = recoverStream(stored, options);
    return { ...base, ...recovered, changes: recorder.takeChanges() };
  } catch (thrown) {
    const { message: failure } = asMillraceError(thrown);
    return { ...base, notes: [], changes: recorder.takeChanges(), failure };
  }
}

function recoverStream(
  { streamId, directory, definition, options: streamOptions }: StoredStream,
  options: StoreRepairOptions & { readonly recorder: ChangeRecorder; readonly epoch: number },
): Pick<StreamRepair, "notes" | "failure" | "oldestSequence" | "nextSequence"> {
  const { recorder, epoch, clock, random, settings, exportedEnd } = options;
  const { stream, notes } = openStream(
    {
      kind: "open",
      id: 0,
      slot: 0,
      streamId,
      directory,
      definition,
      options: streamOptions,
      create: false,
      memory: [],
      knownEnd: exportedEnd(recorder, directory),
    },
    {
      storage: recorder,
      memoryStorage: () => recorder,
      clock,
      random,
      settings: { ...settings, epoch },
    },
    { watch: new ClockWatch(clock), diskRoom: undefined },
  );
  const { log } = stream;
  const { oldestSequence, nextSequence } = log;
  log.close();
  return {
    notes: notes.map(({ reason }) => reason),
    oldestSequence,
    nextSequence,
    failure: log.lastFault?.message,
  };
}
