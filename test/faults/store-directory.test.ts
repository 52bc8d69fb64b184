import assert from "node:assert/strict";
import {
  existsSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  renameSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import path from "node:path";
import { describe, it } from "node:test";
import { StrategyOnFull } from "../../src/core/stream-definition.ts";
import { EngineProcess, temporaryDirectory } from "../support/engine-process.ts";
import { testSeed } from "../support/seeded-random.ts";
import { isSoak, SOAK_TIMEOUT_MS } from "../support/test-length.ts";
import { FaultRun, plainAndFlushed, withClient } from "./fault-run.ts";

const options = { timeout: isSoak ? SOAK_TIMEOUT_MS : 300_000 };
const ANSWERS = 10;
const MANY_STREAMS = isSoak ? 10_000 : 100;
const SEGMENTS_EACH = isSoak ? 10 : 2;
/** What an engine has open beside its streams' newest segments. */
const DESCRIPTORS_BESIDE = 100;

function flipIn(file: string): void {
  const bytes = readFileSync(file);
  bytes[bytes.length - 1]! ^= 0x10;
  writeFileSync(file, bytes);
}

/** No segment is full before what becomes of its directory is noticed. */
const largeSegments = plainAndFlushed.map((definition) => ({
  ...definition,
  streamSegmentSize: 64 * 1024 * 1024,
}));

function isFenced(failureTexts: ReadonlySet<string>): boolean {
  const start = "rejected: The stream is fenced: the stream's files are not where they were: ";
  return [...failureTexts].some((text) => text.startsWith(start));
}

function streamIdOf(run: FaultRun, name: string): string {
  const streams = path.join(run.storeDirectory, "store", "streams");
  return readdirSync(streams).find((id) =>
    readFileSync(path.join(streams, id, "definition"), "latin1").includes(name),
  )!;
}

async function degraded({ port }: EngineProcess): Promise<string[]> {
  const response = await fetch(`http://127.0.0.1:${port}/readyz`);
  return ((await response.json()) as { degraded: string[] }).degraded;
}

describe("a store", options, () => {
  it("has one engine: a second one ends with the reason, and the first goes on", async (t) => {
    const run = new FaultRun(t, { seed: testSeed });
    const engine = await run.start();
    await run.createStreams(engine);
    const second = EngineProcess.spawn(t, { env: run.env, storeDirectory: run.storeDirectory });
    const { code, stderr, stdout } = await second.finished();
    assert.equal(code, 1);
    assert.match(stderr, /^millrace: Cannot lock store .*: another process uses it\n$/m);
    assert.equal(stdout, "");
    await run.load(engine, { answers: ANSWERS });
    await run.check(engine);
    await engine.stop();
  });

  it("opens whatever became of its own small files, and leaves foreign ones alone", async (t) => {
    const run = new FaultRun(t, { seed: testSeed });
    const first = await run.startLoaded({ answers: ANSWERS });
    await first.stop();
    const store = path.join(run.storeDirectory, "store");
    const foreign = path.join(store, "streams", "notes.txt");
    writeFileSync(foreign, "keep");
    writeFileSync(path.join(store, "epoch.tmp"), "half");
    const damages: [string, () => void][] = [
      ["epoch flipped", () => flipIn(path.join(store, "epoch"))],
      ["epoch empty", () => truncateSync(path.join(store, "epoch"), 0)],
      ["epoch missing", () => rmSync(path.join(store, "epoch"))],
      ["format garbled", () => writeFileSync(path.join(store, "format"), "\0\0\0\0")],
      ["format missing", () => rmSync(path.join(store, "format"))],
      ["ballast cut", () => writeFileSync(path.join(store, "ballast"), "short")],
      ["ballast missing", () => rmSync(path.join(store, "ballast"), { force: true })],
    ];
    for (const [name, damage] of damages) {
      damage();
      const engine = await run.start();
      await run.load(engine, { answers: 2 });
      await run.check(engine, { hint: name });
      await engine.stop();
    }
    assert.equal(readFileSync(foreign, "utf8"), "keep");
  });

  it("with a token file that holds no token is not opened, since nobody could tell who may come in", async (t) => {
    const run = new FaultRun(t, { seed: testSeed });
    await (await run.start()).stop();
    truncateSync(path.join(run.storeDirectory, "store", "token"), 3);
    const { code, stderr } = await EngineProcess.spawn(t, {
      env: run.env,
      storeDirectory: run.storeDirectory,
    }).finished();
    assert.equal(code, 1);
    assert.match(stderr, /^millrace: Cannot use .*token: not a token \(.*\)\n$/m);
  });

  it("that loses a stream's directory fences it, serves the others and makes nothing in its place", async (t) => {
    const run = new FaultRun(t, { seed: testSeed, meetsFaults: true, streams: largeSegments });
    const engine = await run.startLoaded({ answers: ANSWERS });
    const streams = path.join(run.storeDirectory, "store", "streams");
    const lost = streamIdOf(run, "flushed");
    // All at once, as another process would see it that removes it file by file and is fast.
    renameSync(path.join(streams, lost), path.join(run.storeDirectory, "lost"));
    rmSync(path.join(run.storeDirectory, "lost"), { recursive: true });
    const isOfLost = (name: string): boolean => name.endsWith("-0");
    assert.equal(run.checkers[0]!.stream, "flushed");
    await run.loadUntil(engine, ({ name, failureTexts, acknowledgedCount }) =>
      isOfLost(name) ? isFenced(failureTexts) : acknowledgedCount > 40,
    );
    assert.ok(!existsSync(path.join(streams, lost)), "the directory is there again");
    assert.deepEqual(await degraded(engine), [`stream-fenced:${lost}`]);
    await withClient(engine, async (client) => {
      let { state, lastFault } = await client.describeStream("flushed");
      assert.equal(state, "fenced");
      // The reason comes another way than the state.
      while (lastFault === undefined) ({ state, lastFault } = await client.describeStream("flushed"));
      assert.match(lastFault, new RegExp(`are not where they were: "${lost}/.*" is gone`));
      assert.equal((await client.describeStream("plain")).state, "ok");
    });
    assert.match(await engine.metrics(), /^millrace_stream_state\{stream="flushed",state="fenced"\} 1$/m);
    const { stderr } = await engine.stop();
    assert.match(stderr, /"stream.fenced".*"flushed"/);
    const next = await run.start();
    await withClient(next, async (client) => assert.deepEqual(await client.listStreams(), ["plain"]));
    await next.stop();
  });

  it("that is removed under its engine takes no more messages within a second, and is not made again", async (t) => {
    const run = new FaultRun(t, { seed: testSeed, meetsFaults: true, streams: largeSegments });
    const engine = await run.start();
    await run.createStreams(engine);
    const store = path.join(run.storeDirectory, "store");
    await run.startProducers(engine);
    renameSync(store, `${store}-gone`);
    rmSync(`${store}-gone`, { recursive: true });
    await run.until(({ failureTexts }) => isFenced(failureTexts));
    await run.drain();
    assert.ok(!existsSync(store));
    const { code, signal, stderr } = await engine.stop();
    // It cannot say in the store that it ended cleanly, and waits for nothing then.
    assert.deepEqual([code, signal], [1, null]);
    assert.doesNotMatch(stderr, /cannot stop cleanly/);
    assert.ok(!existsSync(store));
  });

  it("that comes back as it was goes on by itself, and nothing acknowledged is lost", async (t) => {
    const run = new FaultRun(t, { seed: testSeed, meetsFaults: true, streams: largeSegments });
    const engine = await run.startLoaded({ answers: ANSWERS });
    const store = path.join(run.storeDirectory, "store");
    renameSync(store, `${store}-away`);
    await run.startProducers(engine);
    await run.until(({ failureTexts }) => isFenced(failureTexts));
    await run.drain();
    renameSync(`${store}-away`, store);
    await run.loadAcknowledged(engine, { answers: ANSWERS });
    assert.deepEqual(await degraded(engine), []);
    await run.check(engine);
    await engine.kill();
    await run.check(await run.start());
  });

  it("in whose place another one is put has no stream made in it", async (t) => {
    const run = new FaultRun(t, { seed: testSeed, meetsFaults: true });
    const engine = await run.start();
    await run.createStreams(engine);
    const store = path.join(run.storeDirectory, "store");
    renameSync(store, `${store}-away`);
    mkdirSync(path.join(store, "streams"), { recursive: true });
    await withClient(engine, async (client) => {
      const definition = { name: "late", strategyOnFull: StrategyOnFull.RejectNewData };
      await assert.rejects(client.createMessageStream(definition), /is not the store that the engine opened/);
    });
    assert.deepEqual(readdirSync(path.join(store, "streams")), []);
    await engine.kill();
  });

  it("of many streams opens them all, with a descriptor for each and no more", async (t) => {
    const storeDirectory = temporaryDirectory(t);
    const names = Array.from({ length: MANY_STREAMS }, (_, index) => `stream-${index}`);
    const payload = Buffer.alloc(1000, "m");
    const first = await EngineProcess.start(t, { storeDirectory });
    await withClient(first, async (client) => {
      const strategyOnFull = StrategyOnFull.RejectNewData;
      for (let at = 0; at < names.length; at += 50) {
        await Promise.all(
          names.slice(at, at + 50).map(async (name) => {
            await client.createMessageStream({ name, strategyOnFull, streamSegmentSize: 1024 });
            for (let segment = 0; segment < SEGMENTS_EACH; segment++)
              await client.appendMessage(name, payload);
          }),
        );
      }
    });
    await first.stop();
    const startedMs = performance.now();
    const engine = await EngineProcess.start(t, { storeDirectory });
    const startMs = Math.round(performance.now() - startedMs);
    const descriptors = readdirSync(`/proc/${engine.serve.child.pid!}/fd`).length;
    await withClient(engine, async (client) => {
      assert.equal((await client.listStreams()).length, MANY_STREAMS);
      for (const name of [names[0]!, names.at(-1)!]) {
        const { storageStatus } = await client.describeMessageStream(name);
        assert.equal(storageStatus.newestSequenceNumber, SEGMENTS_EACH - 1);
      }
    });
    await engine.stop();
    assert.ok(descriptors <= MANY_STREAMS + DESCRIPTORS_BESIDE, `${descriptors} descriptors`);
    t.diagnostic(
      JSON.stringify({ streams: MANY_STREAMS, segments: MANY_STREAMS * SEGMENTS_EACH, startMs, descriptors }),
    );
  });
});
