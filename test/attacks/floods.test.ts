import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { connect } from "node:net";
import { describe, it, type TestContext } from "node:test";
import { MillraceClient } from "../../src/client/millrace-client.ts";
import { StrategyOnFull } from "../../src/core/stream-definition.ts";
import { EngineProcess } from "../support/engine-process.ts";
import { openRawWebSocket, type RawClient, upgradeRequest, webSocketFrame } from "../net/port-fixture.ts";

const timeout = 120_000;
const MIB = 1024 * 1024;
/** The bench `attack` has 10,000, and says what they cost. */
const ATTEMPTS = 1000;
const AT_ONCE = 100;
/** A flood goes on until so many messages were appended beside it. */
const APPENDS_MIN = 10;
const STREAM = "good";

function residentBytes({ serve }: EngineProcess): number {
  const status = readFileSync(`/proc/${serve.child.pid!}/status`, "utf8");
  return Number(/VmRSS:\s+(\d+) kB/.exec(status)![1]) * 1024;
}

function descriptorCount({ serve }: EngineProcess): number {
  return readdirSync(`/proc/${serve.child.pid!}/fd`).length;
}

async function connectGood(t: TestContext, { port, token }: EngineProcess): Promise<MillraceClient> {
  const client = await MillraceClient.connect({
    url: `ws://127.0.0.1:${port}`,
    ...(token !== undefined && { token }),
  });
  t.after(() => {
    client.close();
  });
  return client;
}

/** One connection that says something and is gone, or that the engine closes before. */
async function attempt(port: number, words: Uint8Array | string): Promise<void> {
  await new Promise<void>((resolve) => {
    const socket = connect(port, "127.0.0.1");
    socket.on("error", () => undefined);
    socket.on("close", () => resolve());
    socket.on("connect", () => {
      socket.write(words, () => socket.destroy());
    });
  });
}

describe("a port that is flooded", () => {
  it(
    "with connections goes on serving who is there, and has everything back afterwards",
    { timeout },
    async (t) => {
      const engine = await EngineProcess.start(t);
      const { port } = engine;
      const good = await connectGood(t, engine);
      await good.createMessageStream({ name: STREAM, strategyOnFull: StrategyOnFull.RejectNewData });
      await good.appendMessage(STREAM, Buffer.from("before"));
      const before = descriptorCount(engine);

      const words = [
        Buffer.of(0),
        Buffer.of(1, 0, 0),
        "GET /metrics HTTP/1.1\r\nHost: localhost\r\n",
        upgradeRequest(port, { Origin: "http://evil.example" }),
        "GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n",
      ];
      let started = 0;
      let appended = 1;
      const flood = { isOver: false };
      const attacker = async (): Promise<void> => {
        while (started < ATTEMPTS || appended <= APPENDS_MIN)
          await attempt(port, words[started++ % words.length]!);
      };
      const attackers = Promise.all(Array.from({ length: AT_ONCE }, attacker)).then(() => {
        flood.isOver = true;
      });
      while (!flood.isOver) {
        assert.equal(await good.appendMessage(STREAM, Buffer.from(`message ${appended}`)), appended);
        appended += 1;
      }
      await attackers;
      assert.ok(appended > APPENDS_MIN, `${appended} appends while ${started} connections were tried`);

      while (descriptorCount(engine) > before) await new Promise((resolve) => setTimeout(resolve, 5));
      // A new client comes in as soon as its turn in the rate comes; it tries as any client does.
      const late = await connectGood(t, engine).catch(async () => {
        await new Promise((resolve) => setTimeout(resolve, 50));
        return connectGood(t, engine);
      });
      const messages = await late.readMessages(STREAM, {
        minMessageCount: appended,
        maxMessageCount: appended,
      });
      assert.equal(messages.length, appended);
      assert.equal((await engine.stop()).code, 0);
    },
  );

  it(
    "with frames that announce much and stall holds what a frame may have, and no more",
    { timeout },
    async (t) => {
      const engine = await EngineProcess.start(t, {
        env: { STREAM_MANAGER_AUTHENTICATE_CLIENT: "false", MILLRACE_MESSAGE_BYTES_MAX: String(MIB) },
      });
      const { port } = engine;
      const good = await connectGood(t, engine);
      await good.createMessageStream({ name: STREAM, strategyOnFull: StrategyOnFull.RejectNewData });
      await good.appendMessage(STREAM, Buffer.alloc(MIB));
      const before = residentBytes(engine);
      const connections = 12;
      const sentBytes = 12 * MIB;
      const piece = Buffer.alloc(MIB, 1);

      const cutOff: Promise<string>[] = [];
      for (let count = 0; count < connections; count++) {
        const greedy = await openRawWebSocket(t, port);
        greedy.write(webSocketFrame(2, Buffer.alloc(0), { announced: 90 * MIB }));
        for (let sent = 0; sent < sentBytes; sent += piece.length) greedy.write(piece);
        cutOff.push(greedy.ending.finally(() => greedy.socket.destroy()));
      }
      await Promise.all(cutOff);
      const stalling: RawClient[] = [];
      for (let count = 0; count < connections; count++) {
        const client = await openRawWebSocket(t, port);
        client.write(webSocketFrame(2, Buffer.alloc(0), { announced: MIB }));
        client.write(piece.subarray(0, MIB - 1));
        stalling.push(client);
      }
      let grown = 0;
      for (let sequence = 1; sequence <= 50; sequence++) {
        assert.equal(await good.appendMessage(STREAM, Buffer.from("small")), sequence);
        grown = Math.max(grown, residentBytes(engine) - before);
      }
      t.diagnostic(`grew by ${(grown / MIB).toFixed(0)} MiB`);
      // 12 MiB each would be 144; a frame of each is 12, and what the sockets read at a time comes on top.
      assert.ok(grown < connections * MIB * 5, `grew by ${(grown / MIB).toFixed(0)} MiB`);
      for (const client of stalling) client.socket.destroy();
      assert.equal((await engine.stop()).code, 0);
    },
  );
});
