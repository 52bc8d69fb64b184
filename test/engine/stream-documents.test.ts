import assert from "node:assert/strict";
import { mkdirSync, rmSync, symlinkSync } from "node:fs";
import path from "node:path";
import { describe, it, type TestContext } from "node:test";
import { StatusCode } from "../../src/core/status-code.ts";
import { Operation } from "../../src/wire/operation.ts";
import { encodeDescribeMessageStream } from "../../src/wire/describe-message-stream.ts";
import { temporaryDirectory } from "../support/engine-process.ts";
import { type TestEngine, TestSession, startTestEngine } from "./engine-fixture.ts";

const timeout = 60_000;
const MIB = 1024 * 1024;

async function start(
  t: TestContext,
  fileDirectories: readonly string[] = [],
): Promise<TestEngine & { session: TestSession }> {
  const started = await startTestEngine(t, { fileDirectories });
  return { ...started, session: new TestSession(started.engine) };
}

async function create(session: TestSession, document: object, name = "raw"): Promise<void> {
  const result = await session.askDocument(Operation.CreateStream, name, JSON.stringify(document));
  assert.equal(result.status, StatusCode.Success, result.errorMessage);
}

async function configure(session: TestSession, document: unknown): Promise<string> {
  const text = typeof document === "string" ? document : JSON.stringify(document);
  const { status, errorMessage } = await session.askDocument(Operation.ConfigureStream, "raw", text);
  return `${status} ${errorMessage}`;
}

describe("CreateStream", () => {
  it("makes a stream with options of ours from the first moment", { timeout }, async (t) => {
    const { engine, session, storeDirectory } = await start(t);
    await create(session, { definition: { maxSize: 2 * MIB }, options: { freeExported: true } });
    await engine.close();
    const again = await startTestEngine(t, { storeDirectory });
    const { definition, options } = await new TestSession(again.engine).describeStream("raw");
    assert.deepEqual(
      [definition.name, definition.maxSize, options],
      ["raw", 2 * MIB, { freeExported: true }],
    );
    await again.engine.close();
  });

  it(
    "makes a stream of defaults from an empty document, and refuses a second one",
    { timeout },
    async (t) => {
      const { session } = await start(t);
      await create(session, {});
      assert.equal((await session.describeStream("raw")).definition.maxSize, 256 * MIB);
      const { status, errorMessage } = await session.askDocument(Operation.CreateStream, "raw", "{}");
      assert.deepEqual([status, errorMessage], [StatusCode.InvalidRequest, 'Stream "raw" already exists']);
    },
  );

  it("leaves nothing behind where options or definition are refused", { timeout }, async (t) => {
    const { session } = await start(t);
    const refusals: [object, RegExp][] = [
      [{ options: { freeexported: true } }, /"freeexported" is not known/],
      [{ definition: { maxSize: 1 } }, /maxSize is 1, the minimum is 1024/],
      [{ definition: [] }, /definition is not an object/],
      [{ definition: 5 }, /definition is not an object/],
      [{ options: null }, /options is not an object/],
      [{ freeExported: true }, /"freeExported" is not known, only definition and options/],
    ];
    for (const [document, text] of refusals) {
      const result = await session.askDocument(Operation.CreateStream, "raw", JSON.stringify(document));
      assert.equal(result.status, StatusCode.InvalidRequest);
      assert.match(result.errorMessage, text);
    }
    const { status } = await session.askDocument(Operation.CreateStream, "no/slash", "{}");
    assert.equal(status, StatusCode.InvalidRequest);
    await create(session, {});
  });
});

describe("ConfigureStream", () => {
  it("changes options, the definition, or both at once, durably", { timeout }, async (t) => {
    const { engine, session, storeDirectory } = await start(t);
    await create(session, { definition: { maxSize: 2 * MIB } });
    assert.equal(await configure(session, { options: { freeExported: true } }), "0 ");
    let described = await session.describeStream("raw");
    assert.deepEqual([described.definition.maxSize, described.options], [2 * MIB, { freeExported: true }]);
    const both = { definition: { maxSize: 4 * MIB, flushOnWrite: true }, options: { freeExported: false } };
    assert.equal(await configure(session, both), "0 ");
    assert.equal(await configure(session, { definition: { maxSize: 8 * MIB } }), "0 ");
    await engine.close();
    const again = await startTestEngine(t, { storeDirectory });
    described = await new TestSession(again.engine).describeStream("raw");
    // A definition is complete: what it leaves out went back to its default.
    const { maxSize, flushOnWrite } = described.definition;
    assert.deepEqual([maxSize, flushOnWrite, described.options], [8 * MIB, false, { freeExported: false }]);
    await again.engine.close();
  });

  it("is refused under the same rules as an update, and then changes nothing", { timeout }, async (t) => {
    const { session } = await start(t);
    await create(session, {});
    assert.match(await configure(session, "{"), /^3 Cannot read the document: /);
    assert.match(await configure(session, "[]"), /^3 .*not a JSON object/);
    assert.match(
      await configure(session, { options: { freeExported: 1 } }),
      /^3 .*freeExported is 1, must be/,
    );
    const small = {
      definition: { maxSize: MIB, streamSegmentSize: 2 * MIB },
      options: { freeExported: true },
    };
    assert.match(await configure(session, small), /^3 .*streamSegmentSize is 2097152, above/);
    const memory = { definition: { persistence: 1 }, options: { freeExported: true } };
    assert.match(await configure(session, memory), /^17 .*persistence cannot change/);
    assert.deepEqual((await session.describeStream("raw")).options, { freeExported: false });
    const { status } = await session.askDocument(Operation.ConfigureStream, "nope", "{}");
    assert.equal(status, StatusCode.ResourceNotFound);
  });
});

describe("DescribeStream", () => {
  it("tells where every message is, and what a power cut may take", { timeout }, async (t) => {
    const { engine, session } = await start(t);
    await create(session, {});
    const handle = await session.openStream("raw");
    await session.append(handle, ["abc", "defgh"]);
    const { ledger, storage, state, epoch, exporters } = await session.describeStream("raw");
    const all = { messages: 2, payloadBytes: 8 };
    const none = { messages: 0, payloadBytes: 0 };
    assert.deepEqual(ledger, {
      appended: all,
      stored: all,
      overwritten: none,
      expired: none,
      deleted: none,
      damaged: none,
      drops: [],
      damage: [],
    });
    assert.deepEqual([state, epoch, exporters], ["ok", 1, []]);
    assert.deepEqual([storage.oldestSequence, storage.nextSequence, storage.totalBytes], [0, 2, 56]);
    assert.deepEqual(storage.powerCutLossMax, {
      syncIntervalMs: 100,
      syncBytes: 4 * MIB,
      workerSyncBytes: 16 * MIB,
    });
    await configure(session, { definition: { flushOnWrite: true } });
    assert.equal((await session.describeStream("raw")).storage.powerCutLossMax, undefined);
    await engine.close();
  });

  it("names the ranges that are gone, with reason and time", { timeout }, async (t) => {
    const { engine, session } = await start(t);
    const definition = { maxSize: 100_000, streamSegmentSize: 20_000, strategyOnFull: 1 };
    await create(session, { definition });
    const handle = await session.openStream("raw");
    const before = Date.now();
    for (let count = 0; count < 20; count++) await session.append(handle, ["x".repeat(9976)]);
    const { ledger, storage } = await session.describeStream("raw");
    const [drop, ...others] = ledger.drops;
    assert.deepEqual(others, []);
    const { oldestSequence } = storage;
    assert.ok(oldestSequence >= 10);
    assert.ok(drop!.timeMs >= before && drop!.timeMs <= Date.now());
    assert.deepEqual(drop, {
      reason: "overwritten",
      fromSequence: 0,
      toSequence: oldestSequence,
      messages: oldestSequence,
      payloadBytes: oldestSequence * 9976,
      timeMs: drop!.timeMs,
    });
    assert.equal(ledger.overwritten.messages + ledger.stored.messages, 20);
    await engine.close();
  });

  it(
    "tells of a stream that is fenced, with the reason, where the protocol's describe only refuses",
    { timeout },
    async (t) => {
      const { session, workers, nextWorker, storeDirectory } = await start(t);
      await create(session, {});
      const successor = nextWorker();
      // Gone under a worker that dies.
      rmSync(`${storeDirectory}/streams`, { recursive: true });
      await workers[0]!.terminate();
      assert.equal((await session.describeStream("raw")).state, "recovering");
      await successor;
      for (;;) {
        const { state, lastFault } = await session.describeStream("raw");
        if (state === "recovering") {
          await new Promise((resolve) => setImmediate(resolve));
          continue;
        }
        assert.equal(state, "fenced");
        assert.match(lastFault ?? "", /directory of stream "raw" is gone/);
        break;
      }
      const reply = await session.request((requestId) =>
        encodeDescribeMessageStream({ requestId, name: "raw" }),
      );
      assert.match(reply.errorMessage, /^rejected: /);
    },
  );

  it("is refused for a stream that does not exist", { timeout }, async (t) => {
    const { session } = await start(t);
    const { status, errorMessage } = await session.askDocument(Operation.DescribeStream, "nope");
    assert.deepEqual([status, errorMessage], [StatusCode.ResourceNotFound, 'Stream "nope" does not exist']);
  });
});

describe("options of exporters", () => {
  const kinesis = [{ identifier: "k", kinesisStreamName: "target", disabled: true }];

  it(
    "need an exporter of their name, and go with it when the protocol takes it out",
    { timeout },
    async (t) => {
      const { session } = await start(t);
      await create(session, { definition: { exportDefinition: { kinesis } } });
      assert.match(
        await configure(session, { options: { exporters: { x: { paused: true } } } }),
        /^3 .*no exporter "x"$/,
      );
      assert.equal(await configure(session, { options: { exporters: { k: { paused: true } } } }), "0 ");
      assert.deepEqual((await session.describeStream("raw")).options.exporters, { k: { paused: true } });
      assert.equal(await configure(session, { definition: {} }), "0 ");
      assert.equal((await session.describeStream("raw")).options.exporters, undefined);
    },
  );

  it("refuse an exporter to files whose identifier is taken", { timeout }, async (t) => {
    const { session } = await start(t, ["/"]);
    await create(session, { definition: { exportDefinition: { kinesis } } });
    const answer = await configure(session, {
      options: { files: [{ identifier: "k", directory: "/data" }] },
    });
    assert.match(answer, /^3 .*the exporter "k" twice$/);
  });

  it(
    "refuse an exporter to files in a directory that no setting allows, when it comes",
    { timeout },
    async (t) => {
      const root = temporaryDirectory(t);
      const outside = temporaryDirectory(t);
      mkdirSync(path.join(root, "in"));
      symlinkSync(outside, path.join(root, "link"));
      const { session } = await start(t, [root]);
      const to = (directory: string) => ({ options: { files: [{ identifier: "f", directory }] } });
      const refusal =
        /^3 .*Cannot accept exporter "f": Cannot export to .*: it is not within MILLRACE_EXPORT_FILE_DIRS, which names /;
      const refused = [outside, `${root}-other`, path.join(root, "link"), path.join(root, "link", "later")];
      for (const directory of refused) {
        const document = JSON.stringify(to(directory));
        const { status, errorMessage } = await session.askDocument(Operation.CreateStream, "raw", document);
        assert.match(`${status} ${errorMessage}`, refusal);
      }
      await create(session, to(path.join(root, "in")));
      for (const directory of refused) assert.match(await configure(session, to(directory)), refusal);
      // It may come later, as a medium does.
      assert.equal(await configure(session, to(path.join(root, "..later", "out"))), "0 ");
      assert.deepEqual(
        (await session.describeStream("raw")).options.files?.[0]?.directory,
        path.join(root, "..later", "out"),
      );
    },
  );
});
