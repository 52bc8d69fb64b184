import assert from "node:assert/strict";
import { describe, it, type TestContext } from "node:test";
import { StatusCode } from "../../src/core/status-code.ts";
import {
  type MessageStreamInfo,
  Persistence,
  StrategyOnFull,
  type StreamDefinition,
} from "../../src/core/stream-definition.ts";
import { encodeCreateMessageStream } from "../../src/wire/create-message-stream.ts";
import { encodeDeleteMessageStream } from "../../src/wire/delete-message-stream.ts";
import { encodeDescribeMessageStream } from "../../src/wire/describe-message-stream.ts";
import type { Reply } from "../../src/wire/reply.ts";
import { type StreamDefinitionInput, checkStreamDefinition } from "../../src/wire/stream-definition-codec.ts";
import { encodeUpdateMessageStream } from "../../src/wire/update-message-stream.ts";
import { type TestEngine, TestSession, startTestEngine } from "./engine-fixture.ts";

const timeout = 60_000;
const MIB = 1024 * 1024;
const base = { name: "raw", strategyOnFull: StrategyOnFull.RejectNewData } as const;

type Fields = Partial<StreamDefinitionInput>;

function definitionOf(fields: Fields): StreamDefinition {
  return checkStreamDefinition({ ...base, ...fields });
}

async function start(
  t: TestContext,
  fields: Fields = {},
): Promise<TestEngine & { session: TestSession; updates: [string, StreamDefinition][] }> {
  const started = await startTestEngine(t);
  const updates: [string, StreamDefinition][] = [];
  Object.assign(started.engine.exports, {
    updateStream: (streamId: string, definition: StreamDefinition) => updates.push([streamId, definition]),
  });
  const session = new TestSession(started.engine);
  const definition = definitionOf(fields);
  const reply = await session.request((requestId) => encodeCreateMessageStream({ requestId, definition }));
  assert.equal(reply.status, 0, reply.errorMessage);
  return { ...started, session, updates };
}

function update(session: TestSession, fields: Fields): Promise<Reply> {
  // Not checked here: what the engine says of it is the question.
  const definition = { ...definitionOf({}), ...fields } as StreamDefinition;
  return session.request((requestId) => encodeUpdateMessageStream({ requestId, definition }));
}

async function describeRaw(session: TestSession): Promise<MessageStreamInfo> {
  const reply = await session.request<Reply & { messageStreamInfo: MessageStreamInfo }>((requestId) =>
    encodeDescribeMessageStream({ requestId, name: "raw" }),
  );
  return reply.messageStreamInfo;
}

function kinesis(identifier: string, startSequenceNumber?: number): NonNullable<Fields["exportDefinition"]> {
  return {
    kinesis: [
      {
        identifier,
        kinesisStreamName: "k",
        ...(startSequenceNumber !== undefined && { startSequenceNumber }),
      },
    ],
  };
}

async function refused(
  session: TestSession,
  fields: Fields,
  status: StatusCode,
  text: RegExp,
): Promise<void> {
  const before = await describeRaw(session);
  const reply = await update(session, fields);
  assert.deepEqual([reply.status, text.test(reply.errorMessage)], [status, true], reply.errorMessage);
  assert.deepEqual((await describeRaw(session)).definition, before.definition);
}

describe("UpdateMessageStream", () => {
  it("is refused with 5 where there is no such stream (PROTOCOL 5)", { timeout }, async (t) => {
    const { session } = await start(t);
    const reply = await update(session, { name: "nope" });
    assert.deepEqual([reply.status, reply.errorMessage], [5, 'Stream "nope" does not exist']);
  });

  it("is refused with 17 where it would change persistence (PROTOCOL 5)", { timeout }, async (t) => {
    const { session, updates } = await start(t);
    const status = StatusCode.UpdateNotAllowed;
    await refused(
      session,
      { persistence: Persistence.Memory, maxSize: 512 * MIB },
      status,
      /persistence cannot change/,
    );
    assert.deepEqual(updates, []);
  });

  it("is refused with 16 for a maxSize below what the stream holds (PROTOCOL 5)", { timeout }, async (t) => {
    const { session } = await start(t);
    const handle = await session.openStream("raw");
    await session.append(handle, ["x".repeat(2000)]);
    const fields = { maxSize: 2023, streamSegmentSize: 1024 };
    await refused(session, fields, StatusCode.UpdateFailed, /2023 is below the 2024 bytes/);
    assert.equal((await update(session, { ...fields, maxSize: 2024 })).status, 0);
  });

  it(
    "is refused with 3 for segments above maxSize, whichever of them changes (PROTOCOL 5)",
    { timeout },
    async (t) => {
      const { session } = await start(t);
      const status = StatusCode.InvalidRequest;
      await refused(
        session,
        { maxSize: MIB },
        status,
        /streamSegmentSize is 16777216, above definition.maxSize/,
      );
      await refused(session, { maxSize: MIB, streamSegmentSize: MIB + 1 }, status, /1048577/);
      assert.equal((await update(session, { maxSize: MIB, streamSegmentSize: MIB })).status, 0);
    },
  );

  it("is refused with 3 for a value out of range, as at creation", { timeout }, async (t) => {
    const { session } = await start(t);
    await refused(session, { timeToLiveMillis: 59_999 }, StatusCode.InvalidRequest, /minimum is 60000/);
    const twice = { kinesis: [kinesis("a").kinesis![0]!, kinesis("a").kinesis![0]!] };
    await refused(session, { exportDefinition: twice }, StatusCode.InvalidRequest, /"a" twice/);
  });

  it(
    "moves a start only below the newest sequence number, and to 0 always (PROTOCOL 5)",
    { timeout },
    async (t) => {
      const { session, updates } = await start(t, { exportDefinition: kinesis("a") });
      const status = StatusCode.UpdateFailed;
      const text = /startSequenceNumber 2 of "a" must be less than the newest sequence number, /;
      await refused(session, { exportDefinition: kinesis("a", 2) }, status, text);
      const handle = await session.openStream("raw");
      await session.append(handle, ["a", "b", "c"]);
      await refused(session, { exportDefinition: kinesis("a", 2) }, status, text);
      assert.equal((await update(session, { exportDefinition: kinesis("a", 1) })).status, 0);
      assert.equal((await update(session, { exportDefinition: kinesis("a", 0) })).status, 0);
      // An exporter that is new may begin with what is still to come.
      assert.equal((await update(session, { exportDefinition: kinesis("b", 2000) })).status, 0);
      // One that does not change its start keeps it, whatever it is.
      assert.equal(
        (await update(session, { exportDefinition: kinesis("b", 2000), maxSize: 512 * MIB })).status,
        0,
      );
      assert.deepEqual(
        updates.map(([, { exportDefinition }]) => exportDefinition.kinesis[0]!.startSequenceNumber),
        [1, 0, 2000, 2000],
      );
    },
  );

  it(
    "replaces the whole definition, for describe, for the exporters, and after a restart (PROTOCOL 5)",
    { timeout },
    async (t) => {
      const { engine, session, updates, storeDirectory } = await start(t, {
        maxSize: 2 * MIB,
        timeToLiveMillis: 60_000,
        flushOnWrite: true,
        exportDefinition: kinesis("a", 5),
      });
      const handle = await session.openStream("raw");
      await session.append(handle, ["a"]);
      const fields: Fields = {
        strategyOnFull: StrategyOnFull.OverwriteOldestData,
        exportDefinition: kinesis("b"),
      };
      assert.equal((await update(session, fields)).status, 0);
      const expected = definitionOf(fields);
      const info = await describeRaw(session);
      assert.deepEqual(info.definition, expected);
      assert.deepEqual([info.definition.maxSize, info.definition.timeToLiveMillis], [256 * MIB, undefined]);
      assert.equal(info.storageStatus.newestSequenceNumber, 0);
      assert.deepEqual(
        updates.map(([, definition]) => definition),
        [expected],
      );
      await engine.close();

      const again = await startTestEngine(t, { storeDirectory });
      const later = new TestSession(again.engine);
      const found = await describeRaw(later);
      assert.deepEqual(found.definition, expected);
      assert.equal(found.storageStatus.newestSequenceNumber, 0);
      await again.engine.close();
    },
  );

  it("writes nothing when it asks for what is there", { timeout }, async (t) => {
    const { engine, session, updates } = await start(t);
    let controls = 0;
    const proxy = engine.workers.proxy(0);
    const control = proxy.control.bind(proxy);
    proxy.control = (body) => {
      controls += 1;
      return control(body);
    };
    assert.equal((await update(session, {})).status, 0);
    assert.deepEqual([controls, updates.length], [0, 0]);
    assert.equal((await update(session, { maxSize: 512 * MIB })).status, 0);
    assert.deepEqual([controls, updates.length], [1, 1]);
  });

  it(
    "takes turns with other updates and with a deletion, in the order in which they came",
    { timeout },
    async (t) => {
      const { session, updates } = await start(t);
      const sizes = [300, 400, 500].map((size) => size * MIB);
      const replies = sizes.map((maxSize) => update(session, { maxSize }));
      const deletion = session.request((requestId) => encodeDeleteMessageStream({ requestId, name: "raw" }));
      const late = update(session, { maxSize: 600 * MIB });
      assert.deepEqual(
        (await Promise.all(replies)).map(({ status }) => status),
        [0, 0, 0],
      );
      assert.deepEqual(
        updates.map(([, { maxSize }]) => maxSize),
        sizes,
      );
      assert.equal((await deletion).status, 0);
      assert.equal((await late).status, StatusCode.ResourceNotFound);
    },
  );

  it("is refused when too many of the stream wait already", { timeout }, async (t) => {
    const { session } = await start(t);
    const replies = Array.from({ length: 20 }, (_, index) =>
      update(session, { maxSize: (300 + index) * MIB }),
    );
    const statuses = (await Promise.all(replies)).map(
      ({ status, errorMessage }) => `${status} ${errorMessage}`,
    );
    assert.equal(statuses.filter((status) => status === "0 ").length, 17);
    assert.equal(statuses[19], "1 rejected: 16 changes of this stream wait already");
  });

  it(
    "whose worker died over it leaves the old or the new definition, the one that is stored",
    { timeout },
    async (t) => {
      for (const isStored of [false, true]) {
        const { engine, session, workers, nextWorker, storeDirectory } = await start(t);
        const proxy = engine.workers.proxy(0);
        if (isStored) {
          // It does its work, and dies before anybody hears of it.
          const control = proxy.control.bind(proxy);
          proxy.control = async (body) => {
            const answer = await control(body);
            await workers[0]!.terminate();
            return control({ kind: "sync", slot: 0 }).then(() => answer);
          };
        }
        const successor = nextWorker();
        const ended = isStored ? undefined : workers[0]!.terminate();
        const reply = await update(session, { maxSize: 512 * MIB });
        await ended;
        assert.match(reply.errorMessage, /^unknown outcome: retry/);
        await successor;
        await session.openStream("raw");
        const { maxSize } = (await describeRaw(session)).definition;
        if (isStored) assert.equal(maxSize, 512 * MIB);
        await engine.close();
        const again = await startTestEngine(t, { storeDirectory });
        assert.equal((await describeRaw(new TestSession(again.engine))).definition.maxSize, maxSize);
        await again.engine.close();
      }
    },
  );
});
