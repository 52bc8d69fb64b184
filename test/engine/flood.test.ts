import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { MillraceClient } from "../../src/client/millrace-client.ts";
import { StrategyOnFull } from "../../src/core/stream-definition.ts";
import { encodeAppendBatch } from "../../src/wire/append-batch-layout.ts";
import { decodeAppendBatchResult } from "../../src/wire/append-batch-result-layout.ts";
import { decodeOpenStreamResult, encodeOpenStream } from "../../src/wire/open-stream-layout.ts";
import { Operation } from "../../src/wire/operation.ts";
import { encodeReadMessages } from "../../src/wire/read-messages.ts";
import { EngineProcess } from "../support/engine-process.ts";
import { type FrameLink, openTcpLink, openWebSocketLink } from "../support/frame-link.ts";

const timeout = 120_000;
const MIB = 1024 * 1024;

function residentBytes({ serve }: EngineProcess): number {
  const status = readFileSync(`/proc/${serve.child.pid!}/status`, "utf8");
  return Number(/VmRSS:\s+(\d+) kB/.exec(status)![1]) * 1024;
}

function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

/** A client that sends as much as its socket takes and looks at nothing that comes back. */
class Flooder {
  sentCount = 0;
  answeredCount = 0;
  #link: FrameLink | undefined;
  #handle = 0;

  async open(engine: EngineProcess, stream: string): Promise<void> {
    let onOpened: (() => void) | undefined;
    const opened = new Promise<void>((resolve) => (onOpened = resolve));
    const { port, token } = engine;
    this.#link = await openWebSocketLink({
      port,
      token,
      onFrame: (frame) => {
        if (frame[0] === Operation.OpenStreamResult) {
          this.#handle = decodeOpenStreamResult(frame).handle;
          onOpened?.();
        } else {
          decodeAppendBatchResult(frame, (_requestId, status) => {
            assert.equal(status, 0);
            this.answeredCount += 1;
          });
        }
      },
    });
    this.#link.send(encodeOpenStream({ requestId: 0, name: stream }));
    await opened;
  }

  get link(): FrameLink {
    return this.#link!;
  }

  /** Keeps `bufferedBytesMax` waiting in the client. */
  fill(messages: readonly Uint8Array[], bufferedBytesMax: number): void {
    while (this.link.bufferedBytes < bufferedBytesMax) {
      this.link.send(encodeAppendBatch({ handle: this.#handle, requestId: this.sentCount, messages }));
      this.sentCount += 1;
    }
  }
}

test("a client that appends without waiting leaves the others their turn", { timeout }, async (t) => {
  const engine = await EngineProcess.start(t, { env: { MILLRACE_WORKERS: "1" } });
  const url = `ws://127.0.0.1:${engine.port}`;
  const quiet = await MillraceClient.connect({ url, token: engine.token! });
  t.after(() => quiet.close());
  const strategyOnFull = StrategyOnFull.OverwriteOldestData;
  await quiet.createMessageStream({ name: "flood", strategyOnFull, maxSize: 64 * MIB });
  await quiet.createMessageStream({ name: "quiet", strategyOnFull });
  const before = residentBytes(engine);

  const flooders = [new Flooder(), new Flooder()];
  for (const flooder of flooders) await flooder.open(engine, "flood");
  const messages = Array.from({ length: 64 }, () => Buffer.alloc(1000, "reading "));
  const stop = new AbortController();
  let residentBytesMax = 0;
  const flooding = (async () => {
    while (!stop.signal.aborted) {
      for (const flooder of flooders) flooder.fill(messages, 4 * MIB);
      await turn();
    }
  })();
  while (flooders.some((flooder) => flooder.answeredCount < 50)) await turn();
  const answeredBefore = flooders.reduce((sum, flooder) => sum + flooder.answeredCount, 0);
  const quietCount = 100;
  for (let index = 0; index < quietCount; index++) {
    assert.equal(await quiet.appendMessage("quiet", Buffer.from(`message ${index}`)), index);
    residentBytesMax = Math.max(residentBytesMax, residentBytes(engine));
  }
  stop.abort();
  await flooding;
  const floodedBytes =
    (flooders.reduce((sum, flooder) => sum + flooder.answeredCount, 0) - answeredBefore) * 64 * 1000;
  // Before each answer stands at most what both may have on its way, in the socket and in the ring, and a slice or two.
  const perAppend = floodedBytes / quietCount / MIB;
  assert.ok(perAppend < 16, `${perAppend.toFixed(1)} MiB of the flood went before each quiet append`);
  assert.ok(
    residentBytesMax - before < 160 * MIB,
    `grew by ${((residentBytesMax - before) / MIB).toFixed(0)} MiB`,
  );
  t.diagnostic(
    `${perAppend.toFixed(2)} MiB each, grew by ${((residentBytesMax - before) / MIB).toFixed(0)} MiB`,
  );
  for (const flooder of flooders) flooder.link.destroy();
  quiet.close();
  assert.equal((await engine.stop()).code, 0);
});

test("a client that takes no answers is not read on, and gets them all later", { timeout }, async (t) => {
  const engine = await EngineProcess.start(t);
  const { port, token } = engine;
  const client = await MillraceClient.connect({ url: `ws://127.0.0.1:${port}`, token: token! });
  t.after(() => client.close());
  await client.createMessageStream({ name: "raw", strategyOnFull: StrategyOnFull.RejectNewData });
  await client.appendMessage("raw", Buffer.alloc(MIB, "x"));
  const before = residentBytes(engine);

  const replyCount = 300;
  for (const open of [openTcpLink, openWebSocketLink]) {
    let receivedCount = 0;
    let onAll: (() => void) | undefined;
    const all = new Promise<void>((resolve) => (onAll = resolve));
    const onFrame = (frame: Buffer): void => {
      assert.ok(frame.length > MIB);
      receivedCount += 1;
      if (receivedCount === replyCount) onAll?.();
    };
    const link = await open({ port, token, onFrame });
    link.pause();
    for (let index = 0; index < replyCount; index++) {
      link.send(encodeReadMessages({ requestId: `read ${index}`, streamName: "raw", options: {} }));
    }
    // Meanwhile others are served.
    let residentBytesMax = 0;
    for (let index = 0; index < 100; index++) {
      await client.readMessages("raw");
      residentBytesMax = Math.max(residentBytesMax, residentBytes(engine));
    }
    const grownMib = (residentBytesMax - before) / MIB;
    t.diagnostic(`grew by ${grownMib.toFixed(0)} MiB`);
    assert.ok(grownMib < 256, `grew by ${grownMib.toFixed(0)} MiB for ${replyCount} answers of 1 MiB`);
    link.resume();
    await all;
    link.destroy();
  }
  client.close();
  assert.equal((await engine.stop()).code, 0);
});
