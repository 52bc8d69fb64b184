import assert from "node:assert/strict";
import { MillraceError } from "../../src/core/errors.ts";
import { FindingList } from "../../src/log/findings.ts";
import { LogReader } from "../../src/log/log-reader.ts";
import { inspectSegment } from "../../src/log/segment-inspector.ts";
import { StreamLog } from "../../src/log/stream-log.ts";
import { verifySegments } from "../../src/log/stream-verifier.ts";
import { segmentPaths } from "../support/log-blocks.ts";
import {
  blockOf,
  costOf,
  logOptions,
  readAll,
  smallPolicy,
  STREAM_DIRECTORY,
  STREAM_ID,
} from "../support/log-fixture.ts";
import type { SimStorage } from "../support/sim-storage.ts";
import { SimStorage as Disk } from "../support/sim-storage.ts";
import type { FuzzTarget } from "./fuzz-target.ts";
import { CHANGE_KINDS, damage, type DamagePlan, FROM_BLOCK } from "./segment-damage.ts";

const SOURCES = ["src/log/"];
const BLOCKS = 9;
const MESSAGES_PER_BLOCK = 3;
const INPUT_BYTES_MAX = 96;
/** A start and three readers, each with its buffers for one file after the other. */
const ALLOCATED_BYTES_MAX = 64 * 1024 * 1024;

export const policy = { ...smallPolicy, segmentSize: 1024, commitAlignBytes: 512 };

function textOf(sequence: number): string {
  return `message ${sequence} ${"abcdefghij".repeat(2 + (sequence % 9))}`;
}

/** A stream of several segments, the last one without a seal. */
function makeStream(): SimStorage {
  const storage = new Disk();
  storage.makeDirectory("/store");
  const log = StreamLog.create(logOptions(storage, { policy }));
  for (let block = 0; block < BLOCKS; block++) append(log, storage, MESSAGES_PER_BLOCK);
  return storage;
}

function append(log: StreamLog, storage: SimStorage, messageCount: number): void {
  const texts = Array.from({ length: messageCount }, (_, at) => textOf(log.nextSequence + at));
  const batch = blockOf(texts);
  log.admit(costOf(batch));
  log.append(batch);
  log.sync(() => undefined);
  storage.completeSyncs();
}

let pristine: { readonly storage: SimStorage; readonly plan: DamagePlan } | undefined;

function stream(): { readonly storage: SimStorage; readonly plan: DamagePlan } {
  if (pristine !== undefined) return pristine;
  const storage = makeStream();
  const paths = segmentPaths(storage).map((path) => ({ path, bytes: storage.read(path) }));
  return (pristine = { storage, plan: { files: paths } });
}

/** Every part that the inspector names, one behind the other, from end to end of the file. */
function inspectAll(storage: SimStorage): void {
  for (const path of segmentPaths(storage)) {
    const file = storage.open(path, "read");
    const endBytes = file.sizeBytes();
    let at: number | undefined;
    for (const part of inspectSegment({ file, endBytes })) {
      if (part.kind === "head") continue;
      if (at !== undefined) assert.equal(part.offset, at, "the parts follow each other");
      at = part.kind === "block" ? part.nextOffset : part.offset + part.sizeBytes;
      assert.ok(at > part.offset && at <= endBytes, "a part lies in its file");
    }
    file.close();
  }
}

function verifyAll(storage: SimStorage): void {
  const task = {
    storage,
    directory: STREAM_DIRECTORY,
    path: "stream",
    streamId: Buffer.from(STREAM_ID, "hex"),
    isLive: false,
    findings: new FindingList(),
  };
  const steps = [...verifySegments(task)];
  assert.ok(steps.length < 10_000, "verifying ends");
}

/** Nothing that a start reads is other than what was stored. @returns the messages */
function checkMessages(found: ReadonlyMap<number, string>, { isForged }: { isForged: boolean }): void {
  // Who can compute checksums can write messages of his own.
  if (isForged) return;
  for (const [sequence, text] of found) assert.equal(text, textOf(sequence), `message ${sequence}`);
}

function startOn(storage: SimStorage, isForged: boolean): StreamLog | undefined {
  try {
    return StreamLog.open(logOptions(storage, { policy, epoch: 2, quarantineDirectory: "/store/quarantine" }))
      .log;
  } catch (thrown) {
    const isRefusal = thrown instanceof MillraceError && thrown.code === "STREAM_FENCED";
    if (!isRefusal) throw thrown;
    assert.ok(isForged, "damage never keeps a stream from starting");
    return undefined;
  }
}

function startReadAppend(storage: SimStorage, isForged: boolean): void {
  const log = startOn(storage, isForged);
  if (log === undefined) return;
  storage.completeSyncs();
  assert.ok(log.oldestSequence <= log.nextSequence, "the oldest is not behind the newest");
  const before = readAll(log, log.oldestSequence, log.nextSequence);
  checkMessages(before.messages, { isForged });
  const first = log.nextSequence;
  if (!tryAppend(log, storage, isForged)) return;
  const reader = new LogReader({ storage, directory: STREAM_DIRECTORY });
  const after = readAll(reader, log.oldestSequence, log.syncedEndSequence);
  reader.close();
  checkMessages(after.messages, { isForged });
  for (const sequence of [first, first + 1])
    assert.equal(after.messages.get(sequence), textOf(sequence), "what was appended is there");
  // What one reader gives out, another does, unless two blocks that somebody made up claim the same numbers.
  if (!isForged)
    for (const [sequence, text] of before.messages) assert.equal(after.messages.get(sequence), text);
  log.close();
  assert.equal(storage.openFiles, 0, "every file is closed");
}

/** @returns false where sizes that someone made up leave no room */
function tryAppend(log: StreamLog, storage: SimStorage, isForged: boolean): boolean {
  try {
    append(log, storage, 2);
    return true;
  } catch (thrown) {
    if (isForged && thrown instanceof MillraceError && thrown.code === "STREAM_FULL") return false;
    throw thrown;
  }
}

function runPlan(input: Uint8Array, isForged: boolean): void {
  const { storage: whole, plan } = stream();
  const storage = damage(whole, plan, { input, isForged });
  const looked = storage.copy();
  inspectAll(looked);
  verifyAll(looked);
  startReadAppend(storage, isForged);
}

/** Each kind of change by itself, anywhere in a file and in a block. */
function seeds(): readonly Uint8Array[] {
  const kinds = Array.from({ length: CHANGE_KINDS }, (_, kind) => kind);
  return kinds.flatMap((kind) => [
    Buffer.from([kind, 0x10, 0x10, 0x20, 0x11, 0x40, 2, 4]),
    Buffer.from([FROM_BLOCK | kind, 0x01, 0x02, 0x70, 0x03, 0x20, 2, 4]),
  ]);
}

/** A stream whose files are damaged, as disks and people damage them. */
const damagedTarget: FuzzTarget = {
  name: "segments",
  sources: SOURCES,
  inputBytesMax: INPUT_BYTES_MAX,
  inputsPerCount: 1,
  allocatedBytesMax: () => ALLOCATED_BYTES_MAX,
  seeds,
  run: (input) => runPlan(input, false),
};

/** The same with the checksums put right behind the damage, so that what is behind them is reached. */
const forgedTarget: FuzzTarget = {
  ...damagedTarget,
  name: "forged-segments",
  run: (input) => runPlan(input, true),
};

export const segmentTargets: readonly FuzzTarget[] = [damagedTarget, forgedTarget];
