import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import path from "node:path";
import { describe, it } from "node:test";
import { MillraceClient } from "../../src/client/millrace-client.ts";
import { MillraceError } from "../../src/core/errors.ts";
import { StrategyOnFull } from "../../src/core/stream-definition.ts";
import { EngineProcess } from "../support/engine-process.ts";

const timeout = 60_000;
const STREAMS_MAX = 5;

describe("a client that makes streams without end", () => {
  it(
    "stops at the most streams there may be, also for our own operations, and has room again after a deletion",
    { timeout },
    async (t) => {
      const engine = await EngineProcess.start(t, { env: { MILLRACE_STREAMS_MAX: String(STREAMS_MAX) } });
      const { port, token } = engine;
      const client = await MillraceClient.connect({ url: `ws://127.0.0.1:${port}`, token: token! });
      t.after(() => {
        client.close();
      });
      const strategyOnFull = StrategyOnFull.RejectNewData;
      const attempts = Array.from({ length: 4 * STREAMS_MAX }, async (_, index) => {
        const definition = { name: `stream ${index}`, strategyOnFull, maxSize: 2 ** 62 };
        // Both ways of making one, all at once.
        const options = index % 2 === 0 ? undefined : { freeExported: false };
        await client.createMessageStream(definition, options);
      });
      const outcomes = await Promise.allSettled(attempts);
      const refused = outcomes.filter((outcome) => outcome.status === "rejected");
      assert.equal(refused.length, 3 * STREAMS_MAX);
      for (const { reason } of refused) {
        assert.ok(reason instanceof MillraceError);
        assert.match(reason.message, /the limit is 5|at most 5|limit/);
      }
      const names = await client.listStreams();
      assert.equal(names.length, STREAMS_MAX);
      const directory = path.join(engine.storeDirectory, "store", "streams");
      assert.equal(readdirSync(directory).length, STREAMS_MAX);
      await client.deleteMessageStream(names[0]!);
      await client.createMessageStream({ name: "late", strategyOnFull });
      assert.equal((await engine.stop()).code, 0);
    },
  );
});
