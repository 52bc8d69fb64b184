import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { Persistence } from "../../src/core/stream-definition.ts";
import { Operation } from "../../src/wire/operation.ts";
import { TestSession, startTestEngine } from "./engine-fixture.ts";

describe("a Memory stream", () => {
  it(
    "is there again after a restart as it was defined last, empty, and numbers from 0",
    { timeout: 60_000 },
    async (t) => {
      const first = await startTestEngine(t);
      const session = new TestSession(first.engine);
      const definition = { persistence: Persistence.Memory, maxSize: 1_000_000, streamSegmentSize: 100_000 };
      const create = JSON.stringify({ definition });
      assert.equal((await session.askDocument(Operation.CreateStream, "raw", create)).status, 0);
      const handle = await session.openStream("raw");
      assert.equal((await session.append(handle, ["a", "b"])).firstSequence, 0);
      const change = JSON.stringify({
        definition: { ...definition, maxSize: 2_000_000 },
        options: { freeExported: true },
      });
      assert.equal((await session.askDocument(Operation.ConfigureStream, "raw", change)).status, 0);
      assert.equal((await session.append(handle, ["c"])).firstSequence, 2);
      await first.engine.close();

      const second = await startTestEngine(t, { storeDirectory: first.storeDirectory });
      const later = new TestSession(second.engine);
      const stream = await later.describeStream("raw");
      assert.deepEqual(
        [stream.definition.maxSize, stream.definition.persistence, stream.options],
        [2_000_000, Persistence.Memory, { freeExported: true }],
      );
      assert.deepEqual([stream.storage.oldestSequence, stream.storage.nextSequence], [0, 0]);
      assert.deepEqual(stream.ledger.appended, { messages: 0, payloadBytes: 0 });
      assert.equal((await later.append(await later.openStream("raw"), ["d"])).firstSequence, 0);
      await second.engine.close();
    },
  );
});
