import assert from "node:assert/strict";
import { cpSync, mkdirSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { describe, it } from "node:test";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { StatusCode } from "../../src/core/status-code.ts";
import { StrategyOnFull } from "../../src/core/stream-definition.ts";
import type { TestContext } from "node:test";
import { encodeCreateMessageStream } from "../../src/wire/create-message-stream.ts";
import { encodeDeleteMessageStream } from "../../src/wire/delete-message-stream.ts";
import { encodeListStreams } from "../../src/wire/list-streams.ts";
import type { Reply } from "../../src/wire/reply.ts";
import { checkStreamDefinition } from "../../src/wire/stream-definition-codec.ts";
import { TestSession, type TestEngine, startTestEngine } from "../engine/engine-fixture.ts";

const timeout = 60_000;

function create(session: TestSession, name: string): Promise<Reply> {
  const definition = checkStreamDefinition({ name, strategyOnFull: StrategyOnFull.RejectNewData });
  return session.request((requestId) => encodeCreateMessageStream({ requestId, definition }));
}

function remove(session: TestSession, name: string): Promise<Reply> {
  return session.request((requestId) => encodeDeleteMessageStream({ requestId, name }));
}

async function names(session: TestSession): Promise<string[]> {
  const reply = await session.request<Reply & { streams: string[] }>((requestId) =>
    encodeListStreams({ requestId }),
  );
  return reply.streams;
}

async function startWithStream(
  t: TestContext,
): Promise<TestEngine & { session: TestSession; handle: number; directory: string }> {
  const started = await startTestEngine(t);
  const session = new TestSession(started.engine);
  assert.equal((await create(session, "raw")).status, 0);
  const handle = await session.openStream("raw");
  assert.equal((await session.append(handle, ["a"])).firstSequence, 0);
  const streams = `${started.storeDirectory}/streams`;
  return { ...started, session, handle, directory: `${streams}/${readdirSync(streams)[0]!}` };
}

async function turns(count: number): Promise<void> {
  for (let turn = 0; turn < count; turn++) await new Promise((resolve) => setImmediate(resolve));
}

describe("a store with two streams of one name", () => {
  for (const orphan of ["0".repeat(32), "f".repeat(32)]) {
    it(`opens the one that holds messages, beside ${orphan[0]!}…`, { timeout }, async (t) => {
      const first = await startWithStream(t);
      await first.engine.close();
      const orphanDirectory = `${first.storeDirectory}/streams/${orphan}`;
      cpSync(`${first.directory}/definition`, `${orphanDirectory}/definition`, { recursive: true });
      const second = await startTestEngine(t, { storeDirectory: first.storeDirectory });
      const session = new TestSession(second.engine);
      const { firstSequence } = await session.append(await session.openStream("raw"), ["b"]);
      assert.equal(firstSequence, 1);
      assert.deepEqual(readdirSync(orphanDirectory), ["definition"]);
      await second.engine.close();
    });
  }
});

describe("a deletion", () => {
  it("tells exporters that are gone of no progress that comes while they stop", { timeout }, async (t) => {
    const { engine, session, handle } = await startWithStream(t);
    const entry = engine.catalog.get("raw");
    let stopped: (() => void) | undefined;
    let told = 0;
    Object.assign(engine.exports, {
      // As the manager does it: the stream is not known any more, and what is under way is waited for.
      removeStream: () => new Promise<void>((resolve) => (stopped = resolve)),
      onProgress: () => (told += stopped === undefined ? 0 : 1),
    });
    const appended = session.append(handle, ["b"]);
    const removed = remove(session, "raw");
    assert.equal((await appended).firstSequence, 1);
    while (stopped === undefined || entry.progress.syncedEndSequence < 2) await turns(1);
    assert.equal(told, 0);
    stopped();
    assert.equal((await removed).status, StatusCode.Success);
  });

  it("leaves nothing of the stream in memory", { timeout }, async (t) => {
    const { engine } = await startTestEngine(t);
    const session = new TestSession(engine);
    const made: WeakRef<object>[] = [];
    for (let index = 0; index < 20; index++) {
      await create(session, "short-lived");
      made.push(new WeakRef(engine.catalog.get("short-lived")));
      assert.equal((await remove(session, "short-lived")).status, StatusCode.Success);
    }
    setFlagsFromString("--expose-gc");
    const collect = runInNewContext("gc") as () => void;
    for (let tries = 0; tries < 100 && made.some((ref) => ref.deref() !== undefined); tries++) {
      await turns(10);
      collect();
    }
    const left = made.filter((ref) => ref.deref() !== undefined);
    // The newest may still be in a variable of a function that waits.
    assert.ok(left.length <= 1, `${left.length} of ${made.length} streams are held`);
  });

  it("that fails leaves the stream as it was", { timeout }, async (t) => {
    const { engine, session, handle, directory } = await startWithStream(t);
    // The rename that commits a deletion cannot replace a directory that is not empty.
    mkdirSync(`${directory}.deleted`);
    writeFileSync(`${directory}.deleted/x`, "");
    assert.notEqual((await remove(session, "raw")).status, StatusCode.Success);
    await session.openStream("raw");
    assert.equal((await session.append(handle, ["b"])).firstSequence, 1);
    rmSync(`${directory}.deleted`, { recursive: true });
    assert.equal((await remove(session, "raw")).status, StatusCode.Success);
    await engine.close();
  });

  it(
    "whose worker is replaced while its exporters stop leaves the stream as it was",
    { timeout },
    async (t) => {
      const { engine, session, handle, workers, nextWorker } = await startWithStream(t);
      let stopExporters: () => void = () => undefined;
      const stopped = new Promise<void>((resolve) => (stopExporters = resolve));
      Object.assign(engine.exports, { removeStream: () => stopped });
      const deletion = remove(session, "raw");
      const successor = nextWorker();
      await workers[0]!.terminate();
      await successor;
      await turns(50);
      stopExporters();
      assert.match((await deletion).errorMessage, /retry/);
      await session.openStream("raw");
      assert.equal((await session.append(handle, ["b"])).firstSequence, 1);
      await engine.close();
    },
  );

  it("that its worker's death hid is found done, and the name is free", { timeout }, async (t) => {
    const { engine, session, directory, workers, nextWorker } = await startWithStream(t);
    const successor = nextWorker();
    const ended = workers[0]!.terminate();
    const deletion = remove(session, "raw");
    await ended;
    // As if the worker had come so far.
    rmSync(directory, { recursive: true });
    assert.match((await deletion).errorMessage, /^unknown outcome: retry/);
    await successor;
    while ((await names(session)).length > 0) await turns(1);
    assert.equal((await create(session, "raw")).status, StatusCode.Success);
    await engine.close();
  });
});
