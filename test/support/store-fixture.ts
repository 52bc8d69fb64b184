import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { systemClock } from "../../src/core/clock.ts";
import { systemRandom } from "../../src/core/random.ts";
import { Persistence } from "../../src/core/stream-definition.ts";
import { streamOptionsDefault } from "../../src/core/stream-options.ts";
import { CursorFile } from "../../src/export/cursor-file.ts";
import { newCursor } from "../../src/export/cursor-layout.ts";
import { writeDurableFile } from "../../src/log/durable-file.ts";
import { fileStorage } from "../../src/log/file-storage.ts";
import { writeProducers } from "../../src/log/producers-file.ts";
import { StreamLog } from "../../src/log/stream-log.ts";
import { definitionPath, encodeDefinition } from "../../src/stream/definition-file.ts";
import {
  makeStreamDirectory,
  newStreamDirectory,
  openStoreDirectory,
} from "../../src/stream/store-directory.ts";
import { ensureStoreFormat } from "../../src/stream/store-format.ts";
import { temporaryDirectory } from "./engine-process.ts";
import { blockOf, costOf, smallPolicy } from "./log-fixture.ts";
import type { CleanUp } from "./program.ts";
import { definitionWith } from "./stream-fixture.ts";

export const EXPORTER_ID = "e".repeat(32);
const MESSAGES_PER_BLOCK = 3;
const BLOCKS = 20;

export interface FixtureStream {
  readonly streamId: string;
  readonly directory: string;
  readonly name: string;
  readonly messages: number;
}

export interface StoreFixture {
  readonly storeDirectory: string;
  readonly streams: readonly FixtureStream[];
}

function messageOf(sequence: number): string {
  return `message ${sequence} ${"abcdefghij".repeat(10 + (sequence % 40))}`;
}

/** Made once a process, and copied for each test: the syncs cost more than the copy. */
let pattern: Promise<{ readonly directory: string; readonly streams: readonly FixtureStream[] }> | undefined;

/** A store on disk as an engine that was stopped leaves it: two streams of several segments, one in memory, one exporter. */
export async function makeStore(t: CleanUp): Promise<StoreFixture> {
  const { directory, streams } = await (pattern ??= makePattern());
  const storeDirectory = path.join(temporaryDirectory(t), "store");
  cpSync(directory, storeDirectory, { recursive: true });
  return {
    storeDirectory,
    streams: streams.map((stream) => ({
      ...stream,
      directory: path.join(storeDirectory, "streams", stream.streamId),
    })),
  };
}

async function makePattern(): Promise<{ directory: string; streams: FixtureStream[] }> {
  const parent = mkdtempSync(path.join(tmpdir(), "millrace-store-"));
  process.once("exit", () => rmSync(parent, { recursive: true, force: true }));
  const directory = path.join(parent, "store");
  fileStorage.makeDirectory(directory);
  ensureStoreFormat(fileStorage, directory, "0.0.0");
  openStoreDirectory({ storage: fileStorage, storeDirectory: directory });
  writeFileSync(path.join(directory, "token"), "x".repeat(43), { mode: 0o600 });
  const streams: FixtureStream[] = [];
  for (const name of ["first", "second"]) streams.push(await makeStream(directory, name));
  const memory = newStreamDirectory(systemRandom, directory);
  makeStreamDirectory(fileStorage, memory.directory);
  writeDefinition(memory.directory, { name: "memory", persistence: Persistence.Memory });
  await writeCursor(streams[0]!, 7);
  const states = [{ id: 5, lastSequence: 1, batches: [{ firstSequence: 0, messageCount: 3 }] }];
  writeProducers(fileStorage, streams[0]!.directory, { endSequence: 30, states });
  return { directory, streams };
}

function writeDefinition(directory: string, changes: Parameters<typeof definitionWith>[1]): void {
  writeDurableFile(
    fileStorage,
    definitionPath(directory),
    encodeDefinition({ definition: definitionWith([], changes), options: streamOptionsDefault }, directory),
  );
}

async function makeStream(storeDirectory: string, name: string): Promise<FixtureStream> {
  const { streamId, directory } = newStreamDirectory(systemRandom, storeDirectory);
  const log = StreamLog.create({
    storage: fileStorage,
    directory,
    streamId,
    epoch: 1,
    clock: systemClock,
    random: systemRandom,
    policy: smallPolicy,
  });
  writeDefinition(directory, { name });
  for (let block = 0; block < BLOCKS; block++) {
    const texts = Array.from({ length: MESSAGES_PER_BLOCK }, (_, at) => messageOf(log.nextSequence + at));
    const batch = blockOf(texts);
    log.admit(costOf(batch));
    log.append(batch);
    await new Promise<void>((resolve, reject) => {
      log.sync((error) => (error === undefined ? resolve() : reject(error)));
    });
  }
  log.close();
  return { streamId, directory, name, messages: BLOCKS * MESSAGES_PER_BLOCK };
}

/** An exporter of the stream has settled everything below `position`. */
export async function writeCursor({ directory }: FixtureStream, position: number): Promise<void> {
  const file = new CursorFile(fileStorage, { streamDirectory: directory, exporterId: EXPORTER_ID });
  const record = newCursor(0);
  for (const reached of [position - 1, position]) {
    const exported = { messages: reached, payloadBytes: 0 };
    file.write({ ...record, position: reached, accounts: { ...record.accounts, exported } });
    await file.sync();
  }
  file.close();
}

/** Flips a bit of a file. */
export function flipBit(filePath: string, offset: number, mask = 1): void {
  const bytes = readFileSync(filePath);
  bytes[offset]! ^= mask;
  writeFileSync(filePath, bytes);
}
