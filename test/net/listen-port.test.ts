import assert from "node:assert/strict";
import { once } from "node:events";
import { test } from "node:test";
import { WebSocket } from "ws";
import { DESCRIPTORS_RESERVED } from "../../src/core/limits.ts";
import { MillraceError } from "../../src/core/errors.ts";
import { findRequestId } from "../../src/wire/reply.ts";
import { ManualClock } from "../support/deterministic.ts";
import { appendReply, openRawWebSocket, openTestPort, RawClient, vector } from "./port-fixture.ts";

const timeout = 10_000;
const HANDSHAKE = vector("js-core-1.7.0.connect-whole-stream");
/** `ListStreams` with request id `r`. */
const LIST_STREAMS = Buffer.from("0000000e0ba169726571756573744964 6172".replace(" ", ""), "hex");

for (const first of [0x00, 0x02, 0x16, 0x30, 0x5b, 0x60, 0x7b, 0x81, 0xc1, 0xff]) {
  test(`listenPort closes at once on first byte 0x${first.toString(16)}`, { timeout }, async (t) => {
    const { port, handler } = await openTestPort(t);
    const client = new RawClient(t, port.port);
    client.write(Buffer.of(first));
    await client.ending;
    assert.equal(client.received.length, 0);
    assert.equal(port.counters.refusals(first === 0x16 ? "tls" : "first-byte"), 1);
    assert.equal(handler.opened.size, 0);
  });
}

test("listenPort closes a connection that says nothing", { timeout }, async (t) => {
  const { port } = await openTestPort(t, { limits: { firstByteDeadlineMs: 20 } });
  const client = new RawClient(t, port.port);
  await client.ending;
  assert.equal(port.counters.refusals("first-byte-deadline"), 1);
  while (port.connectionCount > 0) await new Promise(setImmediate);
});

test(
  "listenPort leaves its port while it is suspended, with everybody on it, and takes it again",
  { timeout },
  async (t) => {
    const { port, handler } = await openTestPort(t);
    const number = port.port;
    const client = new RawClient(t, number);
    client.write(HANDSHAKE);
    await handler.opened.take();
    port.suspend();
    port.suspend();
    await client.ending;
    await assert.rejects(fetch(`http://127.0.0.1:${number}/healthz`));
    await port.resume();
    assert.equal(port.port, number);
    assert.equal((await fetch(`http://127.0.0.1:${number}/healthz`)).status, 200);
    await port.resume();
  },
);

test("listenPort has one server however often it is resumed at once", { timeout }, async (t) => {
  const { port } = await openTestPort(t);
  const number = port.port;
  port.suspend();
  await Promise.all([port.resume(), port.resume(), port.resume()]);
  assert.equal((await fetch(`http://127.0.0.1:${number}/healthz`)).status, 200);
  // None of them is left behind.
  port.suspend();
  await assert.rejects(fetch(`http://127.0.0.1:${number}/healthz`));
  await port.resume();
});

test("listenPort does not stay on a port that it is to leave while it takes it", { timeout }, async (t) => {
  const { port } = await openTestPort(t);
  const number = port.port;
  port.suspend();
  const resumed = port.resume();
  port.suspend();
  await resumed;
  await assert.rejects(fetch(`http://127.0.0.1:${number}/healthz`));
  await port.resume();
  assert.equal((await fetch(`http://127.0.0.1:${number}/healthz`)).status, 200);
  port.suspend();
  const last = port.resume();
  await port.close();
  await last;
  await assert.rejects(fetch(`http://127.0.0.1:${number}/healthz`));
});

test(
  "listenPort keeps the last descriptors for the store: connections are refused first, and the reason is told",
  { timeout },
  async (t) => {
    let openCount = 0;
    const limit = 100;
    const { port, health } = await openTestPort(t, { countDescriptors: () => ({ openCount, limit }) });
    const admitted = new RawClient(t, port.port);
    admitted.write(HANDSHAKE);
    await admitted.takeConnectResponse();
    openCount = limit - DESCRIPTORS_RESERVED + 1;
    // What was counted before holds for a while, and those that came since are counted on.
    let clients = 0;
    while (port.counters.refusals("descriptors") === 0) {
      const client = new RawClient(t, port.port);
      client.write(HANDSHAKE);
      await Promise.race([client.ending, client.take(1).catch(() => undefined)]);
      clients += 1;
      assert.ok(clients <= limit - DESCRIPTORS_RESERVED);
    }
    assert.deepEqual(health.snapshot().reasons, ["descriptors-short"]);
    openCount = 20;
    for (let isIn = false; !isIn;) {
      const client = new RawClient(t, port.port);
      client.write(HANDSHAKE);
      isIn = await client.take(1).then(
        () => true,
        () => false,
      );
    }
    assert.deepEqual(health.snapshot().reasons, []);
  },
);

test("listenPort lets a port scanner go that closes without a byte", { timeout }, async (t) => {
  const { port } = await openTestPort(t);
  const client = new RawClient(t, port.port);
  client.socket.end();
  await once(client.socket, "close");
  assert.equal(port.counters.refusals("first-byte"), 0);
  assert.equal((await fetch(`http://127.0.0.1:${port.port}/healthz`)).status, 200);
});

test(
  "listenPort holds connectionsMax connections, drops the rest, and has room again afterwards",
  { timeout },
  async (t) => {
    const { port, handler } = await openTestPort(t, { limits: { connectionsMax: 5 } });
    const clients = Array.from({ length: 5 }, () => new RawClient(t, port.port));
    for (const client of clients) client.write(HANDSHAKE);
    for (const client of clients) await client.takeConnectResponse();
    assert.equal(port.connectionCount, 5);
    for (let count = 0; count < 3; count++) await new RawClient(t, port.port).ending;
    assert.equal(port.counters.refusals("connections-max"), 3);
    for (const client of clients) client.socket.end();
    for (let count = 0; count < 5; count++) await handler.closed.take();
    const late = new RawClient(t, port.port);
    late.write(HANDSHAKE);
    await late.takeConnectResponse();
  },
);

test("listenPort frees everything of 300 connections opened and reset", { timeout }, async (t) => {
  const { port, handler } = await openTestPort(t);
  for (let round = 0; round < 300; round++) {
    const client = new RawClient(t, port.port);
    client.write(round % 3 === 0 ? HANDSHAKE : round % 3 === 1 ? "GET /healthz HTTP/1.1\r\n" : "");
    await once(client.socket, "connect");
    if (round % 3 === 0) await client.takeConnectResponse();
    client.socket.resetAndDestroy();
  }
  for (let count = 0; count < 100; count++) await handler.closed.take();
  while (port.connectionCount > 0) await new Promise(setImmediate);
  assert.equal(port.counters.tcp.open, 0);
  assert.equal(port.counters.http.open, 0);
  assert.equal(port.counters.tcp.accepted, 100);
});

test(
  "listenPort closes connections that come too quickly, unread, and counts them",
  { timeout },
  async (t) => {
    const clock = new ManualClock();
    const limits = { connectionBurstMax: 3, connectionsPerSecondMax: 10 };
    const { port, handler } = await openTestPort(t, { limits, clock });
    const clients = Array.from({ length: 3 }, () => new RawClient(t, port.port));
    for (const client of clients) client.write(HANDSHAKE);
    for (const client of clients) await client.takeConnectResponse();
    for (let count = 0; count < 4; count++) {
      const client = new RawClient(t, port.port);
      client.write(HANDSHAKE);
      await client.ending;
      assert.equal(client.received.length, 0);
    }
    assert.equal(port.counters.refusals("accept-rate"), 4);
    assert.equal(port.connectionCount, 3);
    // The others are served meanwhile, and after a moment one more.
    clients[0]!.write(LIST_STREAMS);
    await handler.frames.take();
    clock.advance(100);
    const late = new RawClient(t, port.port);
    late.write(HANDSHAKE);
    await late.takeConnectResponse();
  },
);

test(
  "listenPort serves HTTP, WebSocket and the stream manager protocol on one number",
  { timeout },
  async (t) => {
    const { port, handler, url } = await openTestPort(t);
    const tcp = new RawClient(t, port.port);
    tcp.write(HANDSHAKE);
    await tcp.takeConnectResponse();
    await openRawWebSocket(t, port.port);
    assert.equal((await fetch(`${url}/readyz`)).status, 200);
    assert.deepEqual(
      [(await handler.opened.take()).transport, (await handler.opened.take()).transport],
      ["tcp", "websocket"],
    );
    const { tcp: tcpCounters, websocket, http } = port.counters;
    assert.deepEqual([tcpCounters.accepted, websocket.accepted, http.accepted], [1, 1, 2]);
  },
);

test("listenPort says in one line that a port is taken", { timeout }, async (t) => {
  const { port } = await openTestPort(t);
  await assert.rejects(openTestPort(t, { port: port.port }), (error: unknown) => {
    assert.ok(error instanceof MillraceError);
    assert.equal(error.code, "INVALID_SETTING");
    assert.equal(error.message, `Cannot listen on 127.0.0.1:${port.port}: the port is taken`);
    return true;
  });
});

test(
  "Port.close answers what was asked, ends every client cleanly and frees the number",
  { timeout },
  async (t) => {
    const { port, handler } = await openTestPort(t, { limits: { shutdownDeadlineMs: 5000 } });
    const asking = new RawClient(t, port.port);
    asking.write(Buffer.concat([HANDSHAKE, LIST_STREAMS]));
    await asking.takeConnectResponse();
    const { session, frame } = await handler.frames.take();
    assert.equal(findRequestId(frame), "r");
    const idle = new RawClient(t, port.port);
    idle.write(HANDSHAKE);
    await idle.takeConnectResponse();
    const webSocket = new WebSocket(`ws://127.0.0.1:${port.port}/v1/ws`, "millrace.v1");
    t.after(() => webSocket.terminate());
    await once(webSocket, "open");
    const silent = new RawClient(t, port.port);
    await once(silent.socket, "connect");

    port.stopReading();
    const closed = port.close();
    const [code] = (await once(webSocket, "close")) as [number];
    assert.equal(code, 1001);
    assert.equal(await idle.ending, "end");
    idle.socket.end();
    assert.equal(session.isOpen, true);
    session.send(appendReply("r"));
    assert.equal(findRequestId(await asking.takeFrame()), "r");
    assert.equal(await asking.ending, "end");
    asking.socket.end();
    silent.socket.end();
    await closed;
    assert.equal(port.connectionCount, 0);
    const again = await openTestPort(t, { port: port.port });
    assert.equal(again.port.port, port.port);
  },
);

test("Port.close ends within its deadline whatever the clients do", { timeout }, async (t) => {
  const { port, handler } = await openTestPort(t, {
    limits: { shutdownDeadlineMs: 30, lingerDeadlineMs: 60_000 },
  });
  const client = new RawClient(t, port.port);
  client.write(Buffer.concat([HANDSHAKE, LIST_STREAMS]));
  await handler.frames.take();
  await port.close();
  await handler.closed.take();
  assert.equal(port.connectionCount, 0);
});
