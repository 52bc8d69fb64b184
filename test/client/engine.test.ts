import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import type { TestContext } from "node:test";
import { describe, it } from "node:test";
import { MillraceClient, MillraceError, StrategyOnFull } from "../../src/client/index.ts";
import { Program } from "../support/program.ts";

const programPath = path.join(import.meta.dirname, "..", "..", "src", "millrace.js");

function makeStore(t: TestContext): string {
  const directory = mkdtempSync(path.join(tmpdir(), "millrace-client-"));
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

/** A running engine; a `port` of 0 takes a free one. */
async function startEngine(t: TestContext, store: string, port = 0) {
  const program = new Program(t, [programPath, "serve"], {
    env: {
      ...process.env,
      STREAM_MANAGER_SERVER_PORT: String(port),
      STREAM_MANAGER_STORE_ROOT_DIR: path.join(store, "store"),
      STREAM_MANAGER_AUTHENTICATE_CLIENT: "false",
    },
  });
  const ready = await program.line("stdout", /^millrace ready on /);
  return { program, port: Number(/:(\d+) /.exec(ready)![1]) };
}

describe("MillraceClient and a running engine", { timeout: 120_000 }, () => {
  it("appends, reads back and subscribes", async (t) => {
    const { port } = await startEngine(t, makeStore(t));
    const client = await MillraceClient.connect({ url: `ws://127.0.0.1:${port}` });
    t.after(() => client.close());
    const definition = { name: "s", strategyOnFull: StrategyOnFull.RejectNewData };
    await client.createMessageStream(definition);
    await assert.rejects(
      client.createMessageStream(definition),
      (thrown) => thrown instanceof MillraceError && /already exists/.test(thrown.message),
    );
    await assert.rejects(
      client.producer("missing"),
      (thrown) => thrown instanceof MillraceError && thrown.code === "STREAM_NOT_FOUND",
    );
    assert.equal(await client.appendMessage("s", Uint8Array.of(9)), 0);
    const producer = await client.producer("s");
    assert.equal(await producer.send(["a", "b"]), 1);
    assert.equal(await producer.appendAwaited("c"), 3);
    const total = 50_000;
    for (let sequence = 4; sequence < total; sequence++) {
      const waiting = producer.append(`reading ${sequence}`);
      if (waiting) await waiting;
    }
    await producer.flush();
    const { storageStatus } = await client.describeMessageStream("s");
    assert.equal(storageStatus.newestSequenceNumber, total - 1);
    const [message] = await client.readMessages("s", { desiredStartSequenceNumber: 40_000 });
    assert.equal(new TextDecoder().decode(message!.payload), "reading 40000");

    let expected = 4;
    for await (const { sequence, payload } of await client.subscribe("s", { from: 4, creditBytes: 65_536 })) {
      assert.equal(sequence, expected);
      assert.equal(new TextDecoder().decode(payload), `reading ${expected}`);
      if (++expected === total) break;
    }
    await producer.close();
  });

  it("loses nothing and doubles nothing when the engine is killed and started again", async (t) => {
    const store = makeStore(t);
    const first = await startEngine(t, store);
    const client = await MillraceClient.connect({ url: `ws://127.0.0.1:${first.port}` });
    t.after(() => client.close());
    await client.createMessageStream({ name: "s", strategyOnFull: StrategyOnFull.RejectNewData });
    const producer = await client.producer("s", { batchBytes: 4096 });
    const subscription = await client.subscribe("s");
    const total = 60_000;
    const received: string[] = [];
    const reading = (async () => {
      for await (const { sequence, payload } of subscription) {
        assert.equal(sequence, received.length);
        received.push(new TextDecoder().decode(payload));
        if (received.at(-1) === String(total - 1)) break;
      }
    })();
    for (let index = 0; index < total; index++) {
      const waiting = producer.append(String(index));
      if (waiting) await waiting;
      if (index === total / 2) {
        first.program.child.kill("SIGKILL");
        await first.program.finished();
        void startEngine(t, store, first.port);
      }
    }
    await producer.flush();
    await reading;
    assert.equal(producer.counters.acknowledged, total);
    assert.equal(client.reconnects, 1);
    assert.deepEqual(
      received,
      Array.from({ length: total }, (_, index) => String(index)),
    );
  });
});
