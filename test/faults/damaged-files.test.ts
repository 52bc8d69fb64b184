import assert from "node:assert/strict";
import { copyFileSync, cpSync, lstatSync, readFileSync, readdirSync, readlinkSync, rmSync } from "node:fs";
import path from "node:path";
import { after, before, describe, it } from "node:test";
import type { MillraceClient } from "../../src/client/millrace-client.ts";
import type { MessageTotals } from "../../src/core/stream-ledger.ts";
import { StrategyOnFull } from "../../src/core/stream-definition.ts";
import { numberedPayload } from "../simulation/numbered-payload.ts";
import { SeededRandom } from "../support/deterministic.ts";
import { EngineProcess, temporaryDirectory } from "../support/engine-process.ts";
import type { CleanUp } from "../support/program.ts";
import { testSeed } from "../support/seeded-random.ts";
import { isSoak } from "../support/test-length.ts";
import {
  type Damage,
  type DamageCost,
  definitionDamages,
  mapStream,
  segmentDamages,
  type StreamFiles,
} from "./damage-plan.ts";
import { withClient } from "./fault-run.ts";
import { readSome } from "./read-some.ts";

const KIB = 1024;
const MESSAGES_EACH = 90;
const MESSAGES_PER_BATCH = 5;
const WHOLE_STREAMS = 2;
const READ_COUNT_MAX = 50;
const env = { MILLRACE_WORKERS: "2", MILLRACE_BLOCK_BYTES: "4096" };

/** What a client was given of a stream: by sequence number. */
type Messages = ReadonlyMap<number, Uint8Array>;

interface Reading {
  readonly messages: Messages;
  readonly nextSequence: number;
  /** What the ledger said that it holds, before all of it was read and afterwards. */
  readonly stored: { readonly before: MessageTotals; readonly after: MessageTotals };
}

interface Case {
  readonly damage: Damage;
  readonly files: StreamFiles;
  readonly cost: DamageCost;
  /** At the first start, and at a second one, after one more message. */
  readonly readings: Reading[];
  appendedAt?: number;
}

/** Streams are named after what is done to them, and their payloads after the stream. */
function nameOf(index: number): string {
  return `stream-${index}`;
}

async function fill(engine: EngineProcess, count: number): Promise<void> {
  await withClient(engine, async (client) => {
    for (let index = 0; index < count; index++) {
      const name = nameOf(index);
      await client.createMessageStream({
        name,
        strategyOnFull: StrategyOnFull.RejectNewData,
        streamSegmentSize: 8 * KIB,
        flushOnWrite: index % 2 === 0,
      });
      const producer = await client.producer(name, { batchBytes: 2 * KIB });
      for (let counter = 0; counter < MESSAGES_EACH; counter++) {
        await producer.append(numberedPayload(name, counter));
        if (counter % MESSAGES_PER_BATCH === MESSAGES_PER_BATCH - 1) await producer.flush();
      }
      await producer.close();
    }
    // Until watermarks say how far every segment is durable: damage above that would be a torn tail.
    await new Promise((resolve) => setTimeout(resolve, WATERMARKS_MS));
  });
}

const WATERMARKS_MS = 2500;
const NEWS_TRIES_MAX = 250;

async function readStream(client: MillraceClient, name: string): Promise<Reading> {
  const { storageStatus } = await client.describeMessageStream(name);
  const nextSequence = storageStatus.newestSequenceNumber + 1;
  const before = (await client.describeStream(name)).ledger.stored;
  const messages = new Map<number, Uint8Array>();
  for (let next = storageStatus.oldestSequenceNumber; next < nextSequence;) {
    const found = await readSome(client, name, { from: next, countMax: READ_COUNT_MAX });
    for (const { sequenceNumber, payload } of found) messages.set(sequenceNumber, payload);
    if (found.length === 0) break;
    next = found.at(-1)!.sequenceNumber + 1;
  }
  const after = await storedOnce(client, name, messages.size);
  return { messages, nextSequence, stored: { before, after } };
}

/** What was met while reading comes up with the stream's next news. */
async function storedOnce(client: MillraceClient, name: string, messages: number): Promise<MessageTotals> {
  for (let tries = 0; ; tries++) {
    const { stored } = (await client.describeStream(name)).ledger;
    if (stored.messages === messages || tries === NEWS_TRIES_MAX) return stored;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** What `file` is, so that it can be compared: its bytes, or where it leads to. */
function contentOf(file: string): string {
  const status = lstatSync(file, { throwIfNoEntry: false });
  if (status === undefined) return "missing";
  return status.isSymbolicLink() ? `link to ${readlinkSync(file)}` : readFileSync(file, "latin1");
}

const rounds = isSoak ? 20 : 2;
for (let round = 0; round < rounds; round++) {
  const seed = testSeed + round;
  const ending = round % 2 === 0 ? "stop" : "kill";
  describe(`a store whose files were damaged after a ${ending} costs`, { timeout: 300_000 }, () => {
    const damages = [...segmentDamages, ...definitionDamages];
    const cleanUps: (() => unknown)[] = [];
    const t: CleanUp = { after: (cleanUp) => void cleanUps.push(cleanUp as () => unknown) };
    const cases = new Map<string, Case>();
    const whole = new Map<string, Reading>();
    const kept = new Map<string, string>();
    let fencedText = "";
    let metricsText = "";
    let laterText = "";

    before(async () => {
      const storeDirectory = temporaryDirectory(t);
      const saved = temporaryDirectory(t);
      const first = await EngineProcess.start(t, { env, storeDirectory });
      await fill(first, damages.length + WHOLE_STREAMS);
      await first[ending]();
      const streams = path.join(storeDirectory, "store", "streams");
      cpSync(streams, saved, { recursive: true });
      damageAll(streams);
      const second = await EngineProcess.start(t, { env, storeDirectory });
      await readAll(second);
      metricsText = await second.metrics();
      await appendToAll(second);
      fencedText = (await second.stop()).stderr;
      for (const { damage, files, cost } of cases.values()) {
        for (const file of cost.keeps ?? [])
          assert.equal(contentOf(file), kept.get(file), `${path.basename(file)} changed, ${damage.name}`);
        // Somebody mends what the engine must not guess.
        if (cost.isFenced !== true) continue;
        const definition = path.join(files.directory, "definition");
        rmSync(definition, { force: true });
        copyFileSync(path.join(saved, path.basename(files.directory), "definition"), definition);
      }
      const third = await EngineProcess.start(t, { env, storeDirectory });
      await readAll(third);
      laterText = (await third.stop()).stderr;
    });
    after(async () => {
      for (const cleanUp of cleanUps.reverse()) await cleanUp();
    });

    function damageAll(streams: string): void {
      const random = new SeededRandom(seed);
      const byName = new Map(
        readdirSync(streams).map((id) => {
          const directory = path.join(streams, id);
          const name = ownerOf(directory);
          return [name, mapStream(directory, name)];
        }),
      );
      const other = byName.get(nameOf(damages.length))!;
      for (const [index, damage] of damages.entries()) {
        const files = byName.get(nameOf(index))!;
        assert.ok(files.segments.length >= 4, `${files.name} has ${files.segments.length} segments`);
        assert.equal(files.endSequence, MESSAGES_EACH);
        const cost = damage.apply(files, { other, random });
        for (const file of cost.keeps ?? []) kept.set(file, contentOf(file));
        cases.set(damage.name, { damage, files, cost, readings: [] });
      }
    }

    async function readAll(engine: EngineProcess): Promise<void> {
      await withClient(engine, async (client) => {
        const names = new Set(await client.listStreams());
        for (const { files, readings } of cases.values())
          if (names.has(files.name)) readings.push(await readStream(client, files.name));
        for (let index = 0; index < WHOLE_STREAMS; index++) {
          const name = nameOf(damages.length + index);
          whole.set(name, await readStream(client, name));
        }
      });
    }

    async function appendToAll(engine: EngineProcess): Promise<void> {
      await withClient(engine, async (client) => {
        for (const each of cases.values()) {
          if (each.cost.isFenced === true) continue;
          each.appendedAt = await client.appendMessage(each.files.name, Buffer.from("after the damage"));
        }
      });
    }

    for (const { name } of damages) {
      it(name, () => {
        const each = cases.get(name)!;
        const hint = `SEED=${seed}`;
        if (each.cost.isFenced === true) {
          assert.equal(each.readings.length, 1, "served only once it was put back");
          assert.ok(fencedText.includes(path.basename(each.files.directory)), "the log names it");
          expectMessages(each.files.name, each.readings[0]!, { mayLack: [] }, hint);
          return;
        }
        const [first, second] = each.readings;
        expectMessages(each.files.name, first!, each.cost, hint);
        expectAccount(first!, each.cost, hint);
        // It is in the file by now.
        expectAccount(second!, { mayLack: [] }, hint);
        // The next start comes to the same, and has what was appended since.
        const { appendedAt } = each;
        assert.ok(appendedAt !== undefined && appendedAt >= first!.nextSequence);
        assert.equal(Buffer.from(second!.messages.get(appendedAt)!).toString(), "after the damage");
        const again = new Map([...second!.messages].filter(([sequence]) => sequence !== appendedAt));
        assert.deepEqual(again, first!.messages);
      });
    }

    it("a line in the log for each range, at the start that finds it, and a metric", () => {
      const gone = [...cases.values()].filter(({ cost, readings: [first] }) => {
        return cost.isFenced !== true && first!.messages.size < first!.nextSequence;
      });
      assert.ok(gone.length > 5);
      for (const { files, readings } of gone) {
        const [{ messages, nextSequence }] = readings as [Reading];
        const told = damageLines(fencedText, files.name);
        const count = told.reduce((sum, line) => sum + Number(line["count"]), 0);
        assert.equal(count, nextSequence - messages.size, files.name);
        assert.deepEqual(damageLines(laterText, files.name), [], "not again");
      }
      const damaged = [...metricsText.matchAll(/^millrace_stream_damaged_messages\{.*\} ([1-9]\d*)$/gm)];
      assert.ok(damaged.length > 3, metricsText);
    });

    it("nothing: damage to other streams", () => {
      assert.equal(whole.size, WHOLE_STREAMS);
      for (const [name, reading] of whole) expectMessages(name, reading, { mayLack: [] }, "");
    });
  });
}

function damageLines(stderr: string, name: string): Record<string, unknown>[] {
  return stderr.split("\n").flatMap((line) => {
    if (!line.includes('"stream.damaged"')) return [];
    const fields = JSON.parse(line) as Record<string, unknown>;
    return fields["stream"] === name ? [fields] : [];
  });
}

/** The stream's name, from the payload of its first message, wherever its definition may be. */
function ownerOf(directory: string): string {
  const text = readFileSync(path.join(directory, "definition"), "latin1");
  const match = /stream-\d+/.exec(text);
  assert.ok(match !== null, `${directory} has no name`);
  return match[0];
}

/** What the ledger says is stored is what a client was given, from the start on where a start can know. */
function expectAccount({ messages, stored }: Reading, cost: DamageCost, hint: string): void {
  let payloadBytes = 0;
  for (const payload of messages.values()) payloadBytes += payload.length;
  const read = { messages: messages.size, payloadBytes };
  assert.deepEqual(stored.after, read, hint);
  if (cost.isMetByReading !== true) assert.deepEqual(stored.before, read, `at the start, ${hint}`);
}

function expectMessages(name: string, reading: Reading, cost: DamageCost, hint: string): void {
  for (const [sequence, payload] of reading.messages)
    assert.ok(numberedPayload(name, sequence).equals(payload), `wrong bytes at ${sequence}, ${hint}`);
  const mayLack = (sequence: number): boolean =>
    cost.mayLack.some(({ from, to }) => sequence >= from && sequence < to);
  for (let sequence = 0; sequence < MESSAGES_EACH; sequence++)
    assert.ok(reading.messages.has(sequence) || mayLack(sequence), `message ${sequence} is gone, ${hint}`);
  const end = cost.mayEndAt ?? MESSAGES_EACH;
  assert.ok(reading.nextSequence >= end, `ends at ${reading.nextSequence}, not ${end}, ${hint}`);
}
