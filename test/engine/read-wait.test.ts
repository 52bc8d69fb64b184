import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { StrategyOnFull } from "../../src/core/stream-definition.ts";
import { encodeAppendMessage } from "../../src/wire/append-message.ts";
import { encodeCreateMessageStream } from "../../src/wire/create-message-stream.ts";
import { encodeReadMessages } from "../../src/wire/read-messages.ts";
import { checkStreamDefinition } from "../../src/wire/stream-definition-codec.ts";
import { startTestEngine, TestSession } from "./engine-fixture.ts";

/** Where the Java and Python clients give up; a later reply ends the Python client's reader. */
const CLIENT_TIMEOUT_MS = 60_000;

describe("ReadMessages", () => {
  it(
    "waits a second less than clients do, whatever they allow (PROTOCOL 4, 9.1 rule 4)",
    { timeout: 30_000 },
    async (t) => {
      const { engine } = await startTestEngine(t);
      const session = new TestSession(engine);
      const definition = checkStreamDefinition({ name: "raw", strategyOnFull: StrategyOnFull.RejectNewData });
      await session.request((requestId) => encodeCreateMessageStream({ requestId, definition }));
      const reads = t.mock.method(engine.workers.proxy(0), "read");
      for (const readTimeoutMillis of [CLIENT_TIMEOUT_MS, CLIENT_TIMEOUT_MS - 1, 5000]) {
        const options = {
          desiredStartSequenceNumber: 0,
          minMessageCount: 1,
          maxMessageCount: 1,
          readTimeoutMillis,
        };
        const reading = session.request((requestId) =>
          encodeReadMessages({ requestId, streamName: "raw", options }),
        );
        const timeoutMs = reads.mock.calls.at(-1)?.arguments[1].timeoutMs ?? NaN;
        assert.ok(timeoutMs <= Math.min(readTimeoutMillis, CLIENT_TIMEOUT_MS - 1000), `${timeoutMs} ms`);
        // It does wait: far less could only come from another limit.
        assert.ok(timeoutMs >= Math.min(readTimeoutMillis, CLIENT_TIMEOUT_MS) / 2, `${timeoutMs} ms`);
        const payload = Buffer.from("a");
        await session.request((requestId) => encodeAppendMessage({ requestId, name: "raw", payload }));
        assert.equal((await reading).status, 0);
      }
      await engine.close();
    },
  );
});
