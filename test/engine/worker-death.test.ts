import assert from "node:assert/strict";
import { cpSync, readdirSync } from "node:fs";
import { describe, it } from "node:test";
import type { Message } from "../../src/core/stream-definition.ts";
import { StatusCode } from "../../src/core/status-code.ts";
import { Persistence, StrategyOnFull } from "../../src/core/stream-definition.ts";
import { encodeAppendMessage } from "../../src/wire/append-message.ts";
import { encodeCreateMessageStream } from "../../src/wire/create-message-stream.ts";
import { encodeDeleteMessageStream } from "../../src/wire/delete-message-stream.ts";
import { encodeListStreams } from "../../src/wire/list-streams.ts";
import { encodeReadMessages } from "../../src/wire/read-messages.ts";
import type { Reply } from "../../src/wire/reply.ts";
import { checkStreamDefinition } from "../../src/wire/stream-definition-codec.ts";
import { type AppendAnswer, TestSession, startTestEngine } from "./engine-fixture.ts";

const timeout = 60_000;

async function create(session: TestSession, name: string, changes: object = {}): Promise<Reply> {
  const definition = checkStreamDefinition({
    name,
    strategyOnFull: StrategyOnFull.RejectNewData,
    streamSegmentSize: 64 * 1024,
    ...changes,
  });
  return session.request((requestId) => encodeCreateMessageStream({ requestId, definition }));
}

function read(
  session: TestSession,
  streamName: string,
  options: object = {},
): Promise<Reply & { messages?: Message[] }> {
  return session.request((requestId) => encodeReadMessages({ requestId, streamName, options }));
}

async function readAll(session: TestSession, streamName: string): Promise<string[]> {
  const payloads: string[] = [];
  for (;;) {
    const from = { desiredStartSequenceNumber: payloads.length, maxMessageCount: 100_000 };
    const { status, errorMessage, messages = [] } = await read(session, streamName, from);
    if (status === StatusCode.NotEnoughMessages) return payloads;
    assert.equal(status, 0, errorMessage);
    for (const { payload } of messages) payloads.push(Buffer.from(payload).toString());
  }
}

/** Asks until the stream takes appends again. @returns the answer and how often it was refused before */
async function appendUntilTaken(
  session: TestSession,
  handle: number,
  message: string,
): Promise<AppendAnswer> {
  for (;;) {
    const answer = await session.append(handle, [message]);
    if (answer.status === 0) return answer;
    assert.equal(answer.status, StatusCode.ServerBusy, answer.text);
    // The worker starts on the event loop, which awaits alone would not let turn.
    await new Promise((resolve) => setImmediate(resolve));
  }
}

describe("a stream worker that dies", () => {
  it("under load loses nothing acknowledged, in streams of every kind", { timeout }, async (t) => {
    const { engine, workers } = await startTestEngine(t, { workerCountMax: 2 });
    const session = new TestSession(engine);
    const kinds: readonly [string, object][] = [
      ["plain", {}],
      ["flushed", { flushOnWrite: true }],
      ["memory", { persistence: Persistence.Memory }],
      ["plain 2", {}],
    ];
    const handles = new Map<string, number>();
    for (const [name, changes] of kinds) {
      assert.equal((await create(session, name, changes)).status, 0);
      handles.set(name, await session.openStream(name));
    }
    const acknowledged = new Map(kinds.map(([name]) => [name, new Map<number, string>()]));
    const sent = new Set<string>();
    const failures = new Map<number, number>();
    let acknowledgedCount = 0;
    let isStopping = false;

    const load = async (name: string, producer: number): Promise<void> => {
      const own = new TestSession(engine);
      const handle = await own.openStream(name);
      for (let round = 0; !isStopping; round++) {
        const batches = Array.from({ length: 8 }, (_, batch) =>
          Array.from({ length: 5 }, (_, index) => `${name}/${producer}/${round}/${batch}/${index}`),
        );
        for (const batch of batches) for (const message of batch) sent.add(message);
        const answers = await Promise.all(batches.map((batch) => own.append(handle, batch)));
        answers.forEach(({ status, firstSequence, text }, at) => {
          if (status !== 0) {
            failures.set(status, (failures.get(status) ?? 0) + 1);
            if (status === StatusCode.UnknownOutcome) assert.match(text, /^unknown outcome: retry/);
            return;
          }
          acknowledgedCount += batches[at]!.length;
          batches[at]!.forEach((message, index) =>
            acknowledged.get(name)!.set(firstSequence + index, message),
          );
        });
        await new Promise((resolve) => setImmediate(resolve));
      }
    };
    const loads = kinds.flatMap(([name]) => [load(name, 1), load(name, 2)]);

    let killedCount = 0;
    while (killedCount < 6) {
      const goal = acknowledgedCount + 3000;
      while (acknowledgedCount < goal) await new Promise((resolve) => setImmediate(resolve));
      // The youngest two are those that live; in turn.
      await workers.at(-1 - (killedCount % 2))!.terminate();
      killedCount += 1;
    }
    isStopping = true;
    await Promise.all(loads);

    assert.deepEqual(
      [...failures.keys()].filter(
        (status) => status !== StatusCode.UnknownOutcome && status !== StatusCode.ServerBusy,
      ),
      [],
    );
    assert.ok((failures.get(StatusCode.UnknownOutcome) ?? 0) > 0, "no death met an append");
    for (const [name] of kinds) {
      await appendUntilTaken(session, handles.get(name)!, "last");
      const stored = await readAll(session, name);
      assert.equal(stored.pop(), "last");
      for (const [sequence, message] of acknowledged.get(name)!)
        assert.equal(stored[sequence], message, name);
      for (const message of stored) assert.ok(sent.has(message), `${message} was never sent`);
      assert.equal(new Set(stored).size, stored.length, "nothing is stored twice");
    }
    await engine.close();
  });

  it("has every request answered that it had not answered", { timeout }, async (t) => {
    const { engine, workers } = await startTestEngine(t);
    const session = new TestSession(engine);
    await create(session, "raw");
    const handle = await session.openStream("raw");
    const reading = read(session, "raw", { readTimeoutMillis: 50_000 });
    void workers[0]!.terminate();
    // The thread is ending and the engine does not know it yet.
    const official = session.request<Reply>((requestId) =>
      encodeAppendMessage({ requestId, name: "raw", payload: Buffer.from("a") }),
    );
    const own = session.append(handle, ["b"]);
    for (const reply of [await reading, await official]) {
      assert.equal(reply.status, StatusCode.UnknownFailure);
      assert.match(reply.errorMessage, /^unknown outcome: retry: The stream's worker ended/);
    }
    const { status, text } = await own;
    assert.equal(status, StatusCode.UnknownOutcome);
    assert.match(text, /^unknown outcome: retry/);
    await engine.close();
  });

  it("while its successor recovers keeps no stream closed", { timeout }, async (t) => {
    const { engine, workers, nextWorker } = await startTestEngine(t);
    const session = new TestSession(engine);
    await create(session, "raw");
    const handle = await session.openStream("raw");
    await session.append(handle, ["kept"]);
    const successor = nextWorker();
    await workers[0]!.terminate();
    // Before it can have opened anything.
    await (await successor).terminate();
    assert.equal((await appendUntilTaken(session, handle, "new")).firstSequence, 1);
    assert.deepEqual(await readAll(session, "raw"), ["kept", "new"]);
    await engine.close();
  });

  it("while it deletes a stream leaves it there or gone, but not in between", { timeout }, async (t) => {
    const { engine, workers } = await startTestEngine(t);
    const session = new TestSession(engine);
    await create(session, "raw");
    const handle = await session.openStream("raw");
    await session.append(handle, ["kept"]);
    void workers[0]!.terminate();
    const deletion = await session.request<Reply>((requestId) =>
      encodeDeleteMessageStream({ requestId, name: "raw" }),
    );
    assert.match(deletion.errorMessage, /^unknown outcome: retry/);
    assert.equal((await appendUntilTaken(session, handle, "new")).firstSequence, 1);
    await engine.close();
  });

  it("five times in a minute is not started again at once", { timeout }, async (t) => {
    const { engine, workers, nextWorker } = await startTestEngine(t);
    const session = new TestSession(engine);
    await create(session, "raw");
    const handle = await session.openStream("raw");
    for (let death = 1; death < 5; death++) {
      const successor = nextWorker();
      await workers.at(-1)!.terminate();
      await successor;
    }
    await workers.at(-1)!.terminate();
    // A restart would have come within a few turns of the event loop.
    for (let turn = 0; turn < 500; turn++) {
      const { status } = await session.append(handle, ["refused"]);
      assert.equal(status, StatusCode.ServerBusy);
      await new Promise((resolve) => setImmediate(resolve));
    }
    assert.equal(workers.length, 5);
    await engine.close();
  });
});

describe("a store with two streams of one name", () => {
  it("is opened with one of them, and the other stays as it is", { timeout }, async (t) => {
    const first = await startTestEngine(t);
    const session = new TestSession(first.engine);
    await create(session, "raw");
    await session.append(await session.openStream("raw"), ["a"]);
    await first.engine.close();
    const streams = `${first.storeDirectory}/streams`;
    const [directory] = readdirSync(streams);
    // As after a creation that failed when its definition was written already, and a second that did not.
    cpSync(`${streams}/${directory!}/definition`, `${streams}/${"0".repeat(32)}/definition`, {
      recursive: true,
    });

    const second = await startTestEngine(t, { storeDirectory: first.storeDirectory });
    const later = new TestSession(second.engine);
    const list = await later.request<Reply & { streams: string[] }>((requestId) =>
      encodeListStreams({ requestId }),
    );
    assert.deepEqual(list.streams, ["raw"]);
    assert.equal(readdirSync(streams).length, 2);
    await second.engine.close();
  });
});
