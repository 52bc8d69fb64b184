import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import type { TestContext } from "node:test";
import { describe, it } from "node:test";
import { WebSocket, WebSocketServer } from "ws";
import { openBrowserSocket } from "../../src/client/browser-socket.ts";
import { MillraceClient, StrategyOnFull } from "../../src/client/index.ts";
import { systemEnvironment } from "../../src/client/system-environment.ts";
import { MillraceError } from "../../src/core/errors.ts";
import { CLIENT_REQUEST_TIMEOUT_MS } from "../../src/core/limits.ts";
import { encodeListStreamsResponse } from "../../src/wire/list-streams.ts";
import { Operation } from "../../src/wire/operation.ts";
import { success } from "../../src/wire/reply.ts";
import { ManualEnvironment, settled } from "../support/manual-environment.ts";
import { WireEngine } from "../support/wire-engine.ts";

const code = (expected: string) => (thrown: unknown) =>
  thrown instanceof MillraceError && thrown.code === expected;

/** A WireEngine behind a real WebSocket on a free port. */
async function serve(t: TestContext, options: { token?: string } = {}) {
  const engine = new WireEngine();
  const webSockets = new WebSocketServer({
    noServer: true,
    handleProtocols: (protocols) => (protocols.has("millrace.v1") ? "millrace.v1" : false),
  });
  const httpServer = createServer();
  const received: Buffer[] = [];
  const offered: string[] = [];
  httpServer.on("upgrade", (request, socket, head) => {
    assert.equal(request.url, "/v1/ws");
    offered.push(request.headers["sec-websocket-protocol"] ?? "");
    if (options.token !== undefined && request.headers.authorization !== `Bearer ${options.token}`) {
      socket.end("HTTP/1.1 401 Unauthorized\r\nConnection: close\r\n\r\n");
      return;
    }
    socket.on("data", (chunk: Buffer) => received.push(Buffer.from(chunk)));
    webSockets.handleUpgrade(request, socket, head, (webSocket) => {
      const session = engine.connect({ send: (frame) => webSocket.send(frame) });
      webSocket.on("message", (data) => session.onFrame(data as Buffer));
      webSocket.on("close", () => session.close());
    });
  });
  httpServer.listen(0, "127.0.0.1");
  await once(httpServer, "listening");
  t.after(() => {
    for (const webSocket of webSockets.clients) webSocket.terminate();
    httpServer.close();
  });
  const { port } = httpServer.address() as AddressInfo;
  const breakAll = (): void => {
    for (const webSocket of webSockets.clients) webSocket.terminate();
  };
  return { engine, url: `ws://127.0.0.1:${port}`, received, offered, breakAll };
}

describe("MillraceClient over a real WebSocket", () => {
  it("has the operations of the official client", async (t) => {
    const { url } = await serve(t);
    const client = await MillraceClient.connect({ url });
    t.after(() => client.close());
    const definition = { name: "s", strategyOnFull: StrategyOnFull.OverwriteOldestData, maxSize: 2 ** 20 };
    await client.createMessageStream(definition);
    await assert.rejects(client.createMessageStream(definition), /already exists/);
    assert.deepEqual(await client.listStreams(), ["s"]);
    assert.equal(await client.appendMessage("s", Uint8Array.of(1, 2)), 0);
    assert.equal(await client.appendMessage("s", Uint8Array.of(3)), 1);
    const messages = await client.readMessages("s", { minMessageCount: 2 });
    assert.deepEqual(
      messages.map(({ sequenceNumber, payload }) => [sequenceNumber, ...payload]),
      [
        [0, 1, 2],
        [1, 3],
      ],
    );
    await assert.rejects(client.readMessages("s", { minMessageCount: 3 }), code("NOT_ENOUGH_MESSAGES"));
    await assert.rejects(client.readMessages("s", { minMessageCount: 0 }), code("INVALID_REQUEST"));
    const info = await client.describeMessageStream("s");
    assert.equal(info.definition.streamSegmentSize, 2 ** 20);
    assert.deepEqual(info.storageStatus, { oldestSequenceNumber: 0, newestSequenceNumber: 1, totalBytes: 3 });
    await client.updateMessageStream({ ...definition, maxSize: 2 ** 21 });
    assert.equal((await client.describeMessageStream("s")).definition.maxSize, 2 ** 21);
    await client.deleteMessageStream("s");
    await assert.rejects(client.deleteMessageStream("s"), code("STREAM_NOT_FOUND"));
  });

  it("appends and reads a hundred thousand messages, over a connection that breaks on the way", async (t) => {
    const { engine, url, breakAll } = await serve(t);
    engine.create("s");
    const client = await MillraceClient.connect({ url });
    t.after(() => client.close());
    const producer = await client.producer("s");
    const total = 100_000;
    for (let index = 0; index < total; index++) {
      const waiting = producer.append(`reading ${index}`);
      if (waiting) await waiting;
      if (index === total / 2) breakAll();
    }
    await producer.flush();
    assert.equal(producer.counters.acknowledged, total);
    assert.deepEqual(
      [...new Set(engine.texts("s"))],
      Array.from({ length: total }, (_, index) => `reading ${index}`),
    );
    assert.equal(client.reconnects, 1);

    const stored = engine.texts("s").length;
    const subscription = await client.subscribe("s");
    let expected = 0;
    for await (const { sequence } of subscription) {
      assert.equal(sequence, expected++);
      if (expected === stored / 2) breakAll();
      if (expected === stored) break;
    }
    assert.equal(expected, stored);
  });

  it("uses a masking key of zeros on loopback, and what arrives is what was sent", async (t) => {
    const { engine, url, received } = await serve(t);
    engine.create("s");
    const client = await MillraceClient.connect({ url });
    t.after(() => client.close());
    await client.appendMessage("s", new TextEncoder().encode("payload that is visible"));
    const frame = Buffer.concat(received);
    assert.equal(frame[1]! & 0x80, 0x80, "the frame is masked");
    assert.deepEqual([...frame.subarray(2, 6)], [0, 0, 0, 0]);
    assert.ok(frame.includes("payload that is visible"));
    assert.deepEqual(engine.texts("s"), ["payload that is visible"]);
  });

  it("sends the token as a header and tells a refused one from an absent engine", async (t) => {
    const { url } = await serve(t, { token: "secret" });
    const client = await MillraceClient.connect({ url, token: "secret" });
    client.close();
    await assert.rejects(MillraceClient.connect({ url, token: "wrong" }), (thrown) => {
      assert.ok(thrown instanceof MillraceError);
      assert.equal(thrown.code, "UNAUTHORIZED");
      assert.doesNotMatch(thrown.message, /wrong/);
      return true;
    });
    await assert.rejects(MillraceClient.connect({ url: "ws://127.0.0.1:1" }), code("CONNECT_FAILED"));
  });

  it("works over a browser's WebSocket, which offers the token as a subprotocol", async (t) => {
    const { engine, url, offered, breakAll } = await serve(t);
    engine.create("s");
    // ws has the browser's interface as well; a browser's own is not in Node.js 20.
    const scope = globalThis as { WebSocket?: unknown };
    const before = scope.WebSocket;
    scope.WebSocket = WebSocket;
    t.after(() => (scope.WebSocket = before));
    const environment = { ...systemEnvironment, openSocket: openBrowserSocket };
    const client = await MillraceClient.connect({ url, token: "secret" }, environment);
    t.after(() => client.close());
    assert.equal(offered[0], "millrace.v1,millrace.token.secret");
    const producer = await client.producer("s");
    assert.equal(await producer.appendAwaited("a"), 0);
    breakAll();
    assert.equal(await producer.appendAwaited("b"), 1);
    assert.deepEqual(engine.texts("s"), ["a", "b"]);
    await assert.rejects(
      MillraceClient.connect({ url: "ws://127.0.0.1:1" }, environment),
      code("CONNECT_FAILED"),
    );
  });
});

describe("MillraceClient", () => {
  async function open() {
    const engine = new WireEngine();
    engine.create("s");
    const environment = new ManualEnvironment(engine);
    const lost: MillraceError[] = [];
    const client = await MillraceClient.connect(
      { token: "t", onDisconnected: (error) => lost.push(error) },
      environment,
    );
    return { engine, environment, client, lost };
  }

  it("connects to the engine's path on the default port", async () => {
    const { environment } = await open();
    assert.equal(environment.opened[0]!.url, "ws://127.0.0.1:8088/v1/ws");
    assert.equal(environment.opened[0]!.token, "t");
  });

  it("fails calls that wait when the connection breaks, and makes later ones wait for the next", async () => {
    const { engine, environment, client, lost } = await open();
    engine.silent.add(Operation.ListStreams);
    const cut = assert.rejects(client.listStreams(), code("CONNECTION_CLOSED"));
    await settled();
    environment.cut();
    await cut;
    assert.equal(lost.length, 1);
    engine.silent.clear();
    const list = client.listStreams();
    await environment.advance(1000);
    assert.deepEqual(await list, ["s"]);
    assert.equal(environment.timerCount, 0);
  });

  it("fails a call that is never answered with UNKNOWN_OUTCOME, and ignores an answer after that", async () => {
    const { engine, environment, client } = await open();
    engine.silent.add(Operation.ListStreams);
    const rejected = assert.rejects(client.listStreams(), code("UNKNOWN_OUTCOME"));
    await environment.advance(CLIENT_REQUEST_TIMEOUT_MS);
    await rejected;
    const late = encodeListStreamsResponse({ ...success("1"), streams: ["late"] });
    environment.sendRaw(late);
    engine.silent.clear();
    assert.deepEqual(await client.listStreams(), ["s"]);
    assert.equal(client.reconnects, 0);
  });

  it("gives up for good when the engine refuses it after a reconnect", async () => {
    const { environment, client } = await open();
    environment.connectErrors.push(new MillraceError("UNAUTHORIZED", "HTTP status 401"));
    environment.cut();
    const waiting = assert.rejects(client.listStreams(), code("UNAUTHORIZED"));
    await environment.advance(1000);
    await waiting;
    await assert.rejects(client.listStreams(), code("UNAUTHORIZED"));
    assert.equal(environment.timerCount, 0);
  });

  it("after close leaves no timer and no connection, and refuses calls", async () => {
    const { environment, client } = await open();
    client.close();
    await assert.rejects(client.listStreams(), code("CONNECTION_CLOSED"));
    await environment.advance(100_000);
    assert.equal(environment.isConnected, false);
    assert.equal(environment.connects, 1);
    assert.equal(environment.timerCount, 0);
  });

  it("lets the pauses grow while the engine only accepts and closes", async () => {
    const { environment, client } = await open();
    environment.cut();
    for (let round = 0; round < 8; round++) {
      await environment.advance(5100);
      environment.cut();
    }
    const { connects } = environment;
    await environment.advance(500);
    assert.equal(environment.connects, connects, "no try within half a second");
    await environment.advance(100_000);
    assert.deepEqual(await client.listStreams(), ["s"]);
  });

  it("drops a connection whose peer does not speak the protocol, and makes a new one", async () => {
    const { environment, client, lost } = await open();
    environment.sendRaw(Uint8Array.of(Operation.AppendBatchResult, 0, 1, 0));
    await environment.advance(1000);
    assert.equal(lost.length, 1);
    assert.match(lost[0]!.message, /Cannot decode AppendBatchResult/);
    assert.equal(client.reconnects, 1);
  });
});
