import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { type Finding, FindingList } from "../../src/log/findings.ts";
import { parseSegmentName, SEGMENT_HEADER_BYTES } from "../../src/log/segment-layout.ts";
import type { Storage } from "../../src/log/storage.ts";
import { StreamLog } from "../../src/log/stream-log.ts";
import { type StreamContents, verifySegments } from "../../src/log/stream-verifier.ts";
import { SeededRandom } from "../support/deterministic.ts";
import {
  blockOf,
  costOf,
  logOptions,
  readAll,
  segmentNames,
  STREAM_DIRECTORY,
  STREAM_ID,
} from "../support/log-fixture.ts";
import { crashStates, SimStorage } from "../support/sim-storage.ts";

/** What a start finds of a segment that was being made and does not mend. */
const LEFT_ALONE = /never finished|a copy of the header/;
const MESSAGES_PER_BLOCK = 3;
const BLOCKS = 30;
const MESSAGES = MESSAGES_PER_BLOCK * BLOCKS;

function appendBlock(log: StreamLog): void {
  const texts = Array.from({ length: MESSAGES_PER_BLOCK }, (_, at) => textOf(log.nextSequence + at));
  const batch = blockOf(texts);
  log.admit(costOf(batch));
  log.append(batch);
}

function textOf(sequence: number): string {
  return `message ${sequence} ${"abcdefghij".repeat(10 + (sequence % 40))}`;
}

function newStream(storage: SimStorage): StreamLog {
  storage.makeDirectory("/store");
  return StreamLog.create(logOptions(storage));
}

/** A stream of several segments, the last one neither sealed nor marked. */
function makeStream(): SimStorage {
  const storage = new SimStorage();
  const log = newStream(storage);
  for (let block = 0; block < BLOCKS; block++) {
    appendBlock(log);
    log.sync(() => undefined);
    storage.completeSyncs();
  }
  return storage;
}

interface Verdict {
  readonly contents: StreamContents;
  readonly findings: readonly Finding[];
  readonly progress: number;
}

function verify(storage: Storage, { isLive = false } = {}): Verdict {
  const findings = new FindingList();
  const walk = verifySegments({
    storage,
    directory: STREAM_DIRECTORY,
    path: "stream",
    streamId: Buffer.from(STREAM_ID, "hex"),
    isLive,
    findings,
  });
  let progress = 0;
  let step = walk.next();
  while (step.done !== true) {
    progress += step.value;
    step = walk.next();
  }
  return { contents: step.value, findings: findings.kept, progress };
}

function sizeOf(storage: SimStorage, name: string): number {
  const file = storage.open(`${STREAM_DIRECTORY}/${name}`, "read");
  const sizeBytes = file.sizeBytes();
  file.close();
  return sizeBytes;
}

function truncate(storage: SimStorage, name: string, sizeBytes: number): void {
  const file = storage.open(`${STREAM_DIRECTORY}/${name}`, "append");
  file.truncate(sizeBytes);
  file.close();
}

/** Messages that are in some finding of a fault. */
function lostIn(findings: readonly Finding[]): Set<number> {
  const lost = new Set<number>();
  for (const { severity, fromSequence, toSequence } of findings) {
    if (severity !== "damage" || fromSequence === undefined) continue;
    for (let sequence = fromSequence; sequence < (toSequence ?? MESSAGES); sequence++) lost.add(sequence);
  }
  return lost;
}

/** Messages that an engine cannot give any more. */
function lostToEngine(storage: SimStorage): Set<number> {
  const { log } = StreamLog.open(logOptions(storage, { epoch: 2 }));
  const { messages } = readAll(log, 0, log.nextSequence);
  log.close();
  const lost = new Set<number>();
  for (let sequence = 0; sequence < MESSAGES; sequence++) {
    if (messages.get(sequence) === textOf(sequence)) continue;
    assert.equal(messages.get(sequence), undefined);
    lost.add(sequence);
  }
  return lost;
}

describe("verifySegments", () => {
  it("counts all there is in a sound stream, and finds nothing", () => {
    const storage = makeStream();
    const before = [storage.operations.length, storage.openFiles];
    const { contents, findings, progress } = verify(storage);
    assert.deepEqual(findings, []);
    const names = segmentNames(storage);
    const storedBytes = names.reduce((sum, name) => sum + sizeOf(storage, name), 0);
    assert.equal(progress, storedBytes);
    let payloadBytes = 0;
    for (let sequence = 0; sequence < MESSAGES; sequence++) payloadBytes += textOf(sequence).length;
    assert.deepEqual(contents, {
      segments: names.length,
      blocks: BLOCKS,
      messages: MESSAGES,
      payloadBytes,
      rawBytes: payloadBytes + 4 * MESSAGES,
      storedBytes,
      oldestSequence: 0,
      nextSequence: MESSAGES,
      nextPayloadOffset: payloadBytes,
    });
    assert.deepEqual([storage.operations.length, storage.openFiles], before);
  });

  it("names the place of any flipped bit, with the messages that an engine then misses", () => {
    const sound = makeStream();
    const names = segmentNames(sound);
    const random = new SeededRandom(5);
    for (let round = 0; round < 80; round++) {
      const storage = sound.copy();
      const name = names[random.between(0, names.length - 1)]!;
      const at = random.between(0, sizeOf(sound, name) - 1);
      storage.flip(`${STREAM_DIRECTORY}/${name}`, at, 1 << random.between(0, 7));
      const { findings, contents } = verify(storage);
      const label = `${name} at ${at}: ${JSON.stringify(findings)}`;
      const isTail = name === names.at(-1);
      // Above what is known to be durable there is no telling rot from what a crash left.
      if (findings.length === 0) {
        assert.ok(isTail, label);
        continue;
      }
      assert.equal(findings.length, 1, label);
      const { path, severity, offset, sizeBytes } = findings[0]!;
      assert.equal(path, `stream/${name}`, label);
      // One copy of the header is no fault: the other serves.
      if (at < SEGMENT_HEADER_BYTES) assert.equal(severity, "note", label);
      else assert.ok(severity === "damage" || (isTail && severity === "torn"), label);
      assert.ok(
        offset !== undefined && offset <= at && at < offset + (sizeBytes ?? SEGMENT_HEADER_BYTES),
        label,
      );
      const lost = lostToEngine(storage);
      if (severity === "damage") assert.deepEqual(lostIn(findings), lost, label);
      assert.equal(contents.messages, MESSAGES - lost.size, label);
    }
  });

  it("finds no fault in what any crash leaves", () => {
    const storage = new SimStorage();
    const log = newStream(storage);
    for (let block = 0; block < 9; block++) {
      appendBlock(log);
      if (block % 3 === 2) log.sync(() => undefined);
      if (block % 3 === 2) storage.completeSyncs();
    }
    log.close();
    const torn = new Map<string, number>();
    for (let operation = 1; operation < storage.operations.length; operation++) {
      for (const state of crashStates(storage, operation, {
        random: () => 0.5,
        randomSubsets: 2,
        garbleBytes: 0,
      })) {
        if (!state.storage.list("/").some(({ name }) => name === "store")) continue;
        if (!state.storage.list("/store").some(({ name }) => name === "stream")) continue;
        const at = `operation ${operation}, ${state.label}`;
        const { findings, contents } = verify(state.storage);
        for (const { severity, text } of findings) {
          const expected = text.startsWith("a copy of the header") ? "note" : "torn";
          assert.equal(severity, expected, `${at}: ${text}`);
          torn.set(text, (torn.get(text) ?? 0) + 1);
        }
        const { log: recovered, recovery } = StreamLog.open(logOptions(state.storage, { epoch: 2 }));
        assert.equal(contents.nextSequence, recovered.nextSequence, at);
        assert.deepEqual([recovery.corrupt, recovery.missing], [[], []], at);
        recovered.close();
        const left = verify(state.storage).findings.filter(({ text }) => !LEFT_ALONE.test(text));
        assert.deepEqual(left, [], at);
      }
    }
    assert.ok(torn.size >= 2, JSON.stringify([...torn]));
  });

  it("says which messages a cut segment and a missing one cost", () => {
    const cut = makeStream();
    const [, second, third] = segmentNames(cut);
    const end = parseSegmentName(third!)!.baseSequence;
    truncate(cut, second!, 5000);
    const { findings } = verify(cut);
    const early = findings.find(({ text }) => text.startsWith("the file ends early"))!;
    assert.deepEqual([early.severity, early.path, early.offset], ["damage", `stream/${second!}`, 5000]);
    assert.deepEqual(lostIn(findings), lostToEngine(cut));

    const missing = makeStream();
    missing.unlink(`${STREAM_DIRECTORY}/${second!}`);
    const [gap, ...others] = verify(missing).findings;
    assert.deepEqual(others, []);
    assert.deepEqual(gap, {
      severity: "damage",
      path: "stream",
      fromSequence: parseSegmentName(second!)!.baseSequence,
      toSequence: end,
      text: "no segment holds these messages",
    });
    assert.deepEqual(lostIn([gap]), lostToEngine(missing));
  });

  it("tells a segment that was renamed, one of another stream, and one without a header apart", () => {
    const storage = makeStream();
    const [first, second] = segmentNames(storage);
    const renamed = "00000000000000000001-0000.lz4";
    storage.rename(`${STREAM_DIRECTORY}/${first!}`, `${STREAM_DIRECTORY}/${renamed}`);
    storage.flip(`${STREAM_DIRECTORY}/${second!}`, 100);
    storage.flip(`${STREAM_DIRECTORY}/${second!}`, 2048 + 200);
    const findings = new Map(verify(storage).findings.map((finding) => [finding.path, finding]));
    assert.match(findings.get(`stream/${renamed}`)!.text, new RegExp(`its header says ${first!}`));
    const headless = findings.get(`stream/${second!}`)!;
    assert.match(headless.text, /both copies of the header are damaged; the next start makes it anew/);
    assert.equal(headless.fromSequence, undefined);
  });

  it("finds nothing in a stream that is being written, at any moment", () => {
    const storage = new SimStorage();
    const log = newStream(storage);
    for (let block = 0; block < 9; block++) {
      appendBlock(log);
      if (block % 2 === 1) log.sync(() => undefined);
      if (block % 2 === 1) storage.completeSyncs();
    }
    for (let operation = 1; operation < storage.operations.length; operation++) {
      const state = storage.killedAt(operation);
      if (!state.list("/store").some(({ name }) => name === "stream")) continue;
      assert.deepEqual(verify(state, { isLive: true }).findings, [], `operation ${operation}`);
    }
  });

  it("passes over what an engine has deleted since the files were listed", () => {
    const storage = makeStream();
    const [first, second] = segmentNames(storage);
    // As if retention had come between the look at the headers and the reading.
    let opens = 0;
    const moving: Storage = {
      open: (path, mode) => {
        opens += path.endsWith(first!) ? 1 : 0;
        if (opens === 2 && path.endsWith(first!)) storage.unlink(path);
        return storage.open(path, mode);
      },
      list: (directory) => storage.list(directory),
    } as Partial<Storage> as Storage;
    const live = verify(moving, { isLive: true });
    assert.deepEqual(live.findings, []);
    assert.equal(live.contents.oldestSequence, parseSegmentName(second!)!.baseSequence);
    assert.ok(opens > 1);
  });
});
