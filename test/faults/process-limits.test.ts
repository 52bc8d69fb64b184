import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { once } from "node:events";
import { readdirSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { describe, it } from "node:test";
import { MillraceError } from "../../src/core/errors.ts";
import { DESCRIPTORS_RESERVED } from "../../src/core/limits.ts";
import { StrategyOnFull } from "../../src/core/stream-definition.ts";
import type { EngineProcess } from "../support/engine-process.ts";
import { requireProgram } from "../support/require-program.ts";
import { testSeed } from "../support/seeded-random.ts";
import { FaultRun, withClient } from "./fault-run.ts";

const options = { timeout: 300_000 };
const ANSWERS = 20;
const MANY_ANSWERS = 80;
/** Of standard input, output and error alone. */
const NO_MORE_FILES = 3;
const FILES = 4096;
/** Of these a segment has a head of 4096 and a few blocks. */
const FILE_BYTES = 9000;

/** Changes a limit of a process that runs; the hard one stays, so that it can be given back. */
function limit(engine: EngineProcess, what: "nofile" | "fsize", value: number | "unlimited"): void {
  const pid = String(engine.serve.child.pid);
  execFileSync("prlimit", ["--pid", pid, `--${what}=${value}:`]);
}

describe("an engine that meets a limit of its process", options, () => {
  it("reads nothing wrong and passes nothing over while it can open no more files", async (t) => {
    if (!requireProgram(t, "prlimit", "take descriptors from a process that runs")) return;
    const run = new FaultRun(t, { seed: testSeed, meetsFaults: true });
    const engine = await run.startLoaded({ answers: MANY_ANSWERS });
    await withClient(engine, async (client) => {
      const { storageStatus } = await client.describeMessageStream("flushed");
      const end = storageStatus.newestSequenceNumber + 1;
      limit(engine, "nofile", NO_MORE_FILES);
      // A subscriber waits, and then gets everything.
      const subscription = await client.subscribe("flushed", { from: 0 });
      let failures = 0;
      for (let from = 0; from < end; from += 10) {
        try {
          const [message] = await client.readMessages("flushed", {
            desiredStartSequenceNumber: from,
            minMessageCount: 1,
            maxMessageCount: 1,
          });
          assert.equal(message!.sequenceNumber, from, "messages were passed over");
        } catch (error) {
          assert.ok(error instanceof MillraceError);
          assert.match(error.message, /^rejected: Cannot read the stream now: EMFILE/);
          failures += 1;
        }
      }
      assert.ok(failures > 0, "every segment could be opened");
      limit(engine, "nofile", FILES);
      let next = 0;
      for await (const { sequence } of subscription) {
        assert.equal(sequence, next++);
        if (next === end) break;
      }
    });
    await run.check(engine);
    await engine.stop();
  });

  it("goes on by itself when it can make segments again", async (t) => {
    if (!requireProgram(t, "prlimit", "take descriptors from a process that runs")) return;
    const run = new FaultRun(t, { seed: testSeed, meetsFaults: true });
    const engine = await run.startLoaded({ answers: ANSWERS });
    await run.startProducers(engine);
    limit(engine, "nofile", NO_MORE_FILES);
    await run.until(({ failureTexts }) => failureTexts.size > 0);
    limit(engine, "nofile", FILES);
    await run.drain();
    await run.loadAcknowledged(engine, { answers: ANSWERS });
    await run.check(engine);
    await engine.kill();
    await run.check(await run.start());
  });

  it("keeps descriptors for its streams from the connections that come", async (t) => {
    if (!requireProgram(t, "prlimit", "take descriptors from a process that runs")) return;
    const run = new FaultRun(t, { seed: testSeed });
    const engine = await run.start();
    await run.createStreams(engine);
    const { port } = engine;
    await withClient(engine, async (client) => {
      const open = readdirSync(`/proc/${String(engine.serve.child.pid)}/fd`).length;
      const max = open + DESCRIPTORS_RESERVED + 10;
      limit(engine, "nofile", max);
      // Only with a connection does it count again, and not with each.
      while (!(await engine.metrics()).includes(`millrace_descriptors_max ${max}\n`)) {
        const socket = connect(port, "127.0.0.1");
        await once(socket, "connect");
        socket.destroy();
      }
      const sockets: Socket[] = [];
      t.after(() => sockets.forEach((socket) => socket.destroy()));
      const flood = async (): Promise<void> => {
        const socket = connect(port, "127.0.0.1");
        sockets.push(socket);
        // What goes on is held open with a request that has no end.
        socket.write("GET /healthz HTTP/1.1\r\n");
        socket.on("error", () => undefined);
        await once(socket, "connect");
      };
      for (let count = 0; count < 2 * DESCRIPTORS_RESERVED; count++) await flood();
      // New streams are made, and written, all the same.
      for (let stream = 0; stream < 8; stream++) {
        const name = `late-${stream}`;
        await client.createMessageStream({ name, strategyOnFull: StrategyOnFull.RejectNewData });
        await client.appendMessage(name, Buffer.from("message"));
      }
      assert.ok(
        sockets.some((socket) => socket.destroyed || socket.readableEnded),
        "nobody was refused",
      );
      limit(engine, "nofile", FILES);
      for (const socket of sockets) socket.destroy();
    });
    const text = await engine.metrics();
    assert.match(text, /^millrace_connections_refused_total\{reason="descriptors"\} \d+$/m);
    const { stderr } = await engine.stop();
    assert.match(stderr, /"port.full".*the last 32 descriptors are kept for the store/);
  });

  it("does not take segments that it cannot open at its start for lost ones", async (t) => {
    if (!requireProgram(t, "gcc", "build the shim that makes file calls fail")) return;
    const run = new FaultRun(t, { seed: testSeed });
    const first = await run.startLoaded({ answers: MANY_ANSWERS });
    await first.stop();
    run.shim.setRules("open .lz4 3+ EMFILE");
    const second = await run.startUnderShim();
    await withClient(second, async (client) => {
      for (const { name } of run.streams)
        await assert.rejects(client.describeMessageStream(name), /EMFILE|fenced|recover/i);
    });
    const { stderr } = await second.stop();
    assert.doesNotMatch(stderr, /lost|misses|damaged/);
    await run.check(await run.start());
  });

  it("takes a file that may not grow for a full disk", async (t) => {
    if (!requireProgram(t, "prlimit", "limit the size of files of a process that runs")) return;
    const run = new FaultRun(t, { seed: testSeed, meetsFaults: true });
    const engine = await run.start();
    await run.createStreams(engine);
    limit(engine, "fsize", FILE_BYTES);
    await run.loadUntil(engine, ({ failureTexts }) => failureTexts.size > 0);
    const texts = new Set(run.producers.flatMap(({ failureTexts }) => [...failureTexts]));
    for (const text of texts) assert.match(text, /is full|^unknown outcome: retry/);
    limit(engine, "fsize", "unlimited");
    await run.loadAcknowledged(engine, { answers: ANSWERS });
    await run.check(engine);
    await engine.kill();
    await run.check(await run.start());
  });
});
