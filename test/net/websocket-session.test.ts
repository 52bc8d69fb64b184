import assert from "node:assert/strict";
import { once } from "node:events";
import { test, type TestContext } from "node:test";
import { deflateRawSync } from "node:zlib";
import { WebSocket } from "ws";
import { systemClock } from "../../src/core/clock.ts";
import { StatusCode } from "../../src/core/status-code.ts";
import { TokenAuthenticator } from "../../src/net/token-authenticator.ts";
import { decodeConnectResponse, encodeConnect } from "../../src/wire/connect.ts";
import { Inbox } from "../support/inbox.ts";
import {
  closeCode,
  EXAMPLE_TOKEN,
  openRawWebSocket,
  openTestPort,
  RawClient,
  type TestPort,
  upgradeRequest,
  webSocketFrame,
} from "./port-fixture.ts";

const timeout = 10_000;
const BINARY = 2;

async function openWebSocket(t: TestContext, { port }: TestPort): Promise<WebSocket> {
  const client = new WebSocket(`ws://127.0.0.1:${port.port}/v1/ws`, "millrace.v1");
  t.after(() => client.terminate());
  await once(client, "open");
  return client;
}

async function statusLine(t: TestContext, port: number, request: string): Promise<string> {
  const client = new RawClient(t, port);
  client.write(request);
  return (await client.takeAll()).toString("latin1").split("\r\n")[0]!;
}

test(
  "WebSocketSession hands on one frame per message and sends one message per frame",
  { timeout },
  async (t) => {
    const opened = await openTestPort(t);
    opened.handler.onRequest = (session, frame) => session.send(frame);
    const client = await openWebSocket(t, opened);
    assert.equal(client.protocol, "millrace.v1");
    assert.equal(client.extensions, "");
    const session = await opened.handler.opened.take();
    assert.equal(session.protocolVersion, "1.1.0");
    for (const size of [2, 125, 126, 65_535, 65_536, 1 << 20]) {
      const sent = Buffer.alloc(size, 66);
      client.send(sent);
      assert.deepEqual((await opened.handler.frames.take()).frame, sent);
      const [data, isBinary] = (await once(client, "message")) as [Buffer, boolean];
      assert.equal(isBinary, true);
      assert.deepEqual(data, sent);
    }
    client.close();
    assert.equal(await opened.handler.closed.take(), session);
    assert.equal(session.isOpen, false);
  },
);

test("WebSocketSession joins what one turn sends and keeps its order", { timeout }, async (t) => {
  const opened = await openTestPort(t);
  const client = await openWebSocket(t, opened);
  const session = await opened.handler.opened.take();
  const received: number[] = [];
  const all = new Promise<void>((resolve) => {
    client.on("message", (data: Buffer) => {
      received.push(data.readUInt16LE(1));
      if (received.length === 1000) resolve();
    });
  });
  for (let index = 0; index < 1000; index++) session.send(Buffer.of(67, index & 0xff, index >> 8));
  await all;
  assert.deepEqual(
    received,
    Array.from({ length: 1000 }, (_, index) => index),
  );
});

test("WebSocketSession answers a Connect frame and takes over its version", { timeout }, async (t) => {
  const opened = await openTestPort(t);
  const client = await openWebSocket(t, opened);
  const session = await opened.handler.opened.take();
  client.send(
    encodeConnect({ requestId: "w", protocolVersion: "1.0.0", otherSupportedProtocolVersions: [] }),
  );
  const [data] = (await once(client, "message")) as [Buffer];
  const response = decodeConnectResponse(data);
  assert.equal(response.status, StatusCode.Success);
  assert.equal(response.requestId, "w");
  assert.equal(session.protocolVersion, "1.0.0");
  assert.equal(opened.handler.frames.size, 0);
});

test("WebSocketSession answers a Connect it cannot serve and closes", { timeout }, async (t) => {
  const opened = await openTestPort(t);
  const client = await openWebSocket(t, opened);
  client.send(
    encodeConnect({ requestId: "w", protocolVersion: "7.0.0", otherSupportedProtocolVersions: [] }),
  );
  const [data] = (await once(client, "message")) as [Buffer];
  assert.equal(decodeConnectResponse(data).status, StatusCode.UnsupportedProtocolVersion);
  const [code] = (await once(client, "close")) as [number];
  assert.equal(code, 1002);
});

for (const [what, message, code] of [
  ["a text message", "hello", 1003],
  ["an empty message", Buffer.alloc(0), 1002],
  ["an operation without a payload", Buffer.of(66), 1002],
] as const) {
  test(`WebSocketSession closes with ${code} on ${what}`, { timeout }, async (t) => {
    const opened = await openTestPort(t);
    const client = await openWebSocket(t, opened);
    client.send(message);
    const [got] = (await once(client, "close")) as [number];
    assert.equal(got, code);
    assert.equal(opened.handler.frames.size, 0);
    await opened.handler.closed.take();
  });
}

test("WebSocketSession refuses an announced 90 MiB at the header", { timeout }, async (t) => {
  const opened = await openTestPort(t);
  const client = await openRawWebSocket(t, opened.port.port);
  client.write(webSocketFrame(BINARY, Buffer.alloc(10), { announced: 90 << 20 }));
  assert.equal(closeCode(await client.takeAll()), 1009);
});

test("WebSocketSession refuses a message over the limit that comes in fragments", { timeout }, async (t) => {
  const opened = await openTestPort(t, { limits: { frameBytesMax: 100_000 } });
  const client = await openRawWebSocket(t, opened.port.port);
  client.write(webSocketFrame(BINARY, Buffer.alloc(60_000), { isFinal: false }));
  client.write(webSocketFrame(0, Buffer.alloc(60_000), { isFinal: false }));
  assert.equal(closeCode(await client.takeAll()), 1009);
});

test(
  "WebSocketSession agrees to no compression, and closes on a compressed frame",
  { timeout },
  async (t) => {
    const { port } = await openTestPort(t);
    const client = new RawClient(t, port.port);
    const offer = "permessage-deflate; client_max_window_bits, permessage-deflate";
    client.write(upgradeRequest(port.port, { "Sec-WebSocket-Extensions": offer }));
    const head: Buffer[] = [];
    while (!Buffer.concat(head).toString("latin1").endsWith("\r\n\r\n")) head.push(await client.take(1));
    assert.match(Buffer.concat(head).toString("latin1"), /^HTTP\/1\.1 101 /);
    assert.doesNotMatch(Buffer.concat(head).toString("latin1"), /Sec-WebSocket-Extensions/i);
    client.write(webSocketFrame(0x40 | 2, deflateRawSync(Buffer.alloc(1 << 20))));
    assert.equal(closeCode(await client.takeAll()), 1002);
  },
);

test("WebSocketSession ends a flood of fragments at 64", { timeout }, async (t) => {
  const opened = await openTestPort(t);
  const client = await openRawWebSocket(t, opened.port.port);
  const fragments = [webSocketFrame(BINARY, Buffer.of(66), { isFinal: false })];
  for (let count = 1; count < 64; count++)
    fragments.push(webSocketFrame(0, Buffer.of(66), { isFinal: count === 63 }));
  client.write(Buffer.concat(fragments));
  assert.equal((await opened.handler.frames.take()).frame.length, 64);
  fragments[63] = webSocketFrame(0, Buffer.of(66), { isFinal: false });
  for (let count = 64; count < 16_000; count++)
    fragments.push(webSocketFrame(0, Buffer.of(66), { isFinal: false }));
  client.write(Buffer.concat(fragments));
  assert.equal(closeCode(await client.takeAll()), 1008);
});

for (const [what, bytes] of [
  ["an unmasked frame", webSocketFrame(BINARY, Buffer.alloc(5), { isMasked: false })],
  ["a reserved opcode", webSocketFrame(3, Buffer.alloc(5))],
  ["a control frame over 125 bytes", webSocketFrame(9, Buffer.alloc(126))],
  ["text that is not UTF-8", webSocketFrame(1, Buffer.of(0xc3, 0x28))],
  ["a compressed frame", Buffer.of(0xc2, 0x80, 0, 0, 0, 0)],
  ["a continuation of nothing", webSocketFrame(0, Buffer.alloc(5))],
] as const) {
  test(`WebSocketSession closes on ${what} and leaves others alone`, { timeout }, async (t) => {
    const opened = await openTestPort(t);
    const other = await openWebSocket(t, opened);
    await opened.handler.opened.take();
    const client = await openRawWebSocket(t, opened.port.port);
    const session = await opened.handler.opened.take();
    client.write(bytes);
    assert.ok([1002, 1007].includes(closeCode(await client.takeAll()) ?? 0));
    assert.equal(await opened.handler.closed.take(), session);
    assert.equal(opened.port.counters.refusals("malformed-frame"), 1);
    other.send(Buffer.of(66, 1));
    assert.equal((await opened.handler.frames.take()).frame.length, 2);
  });
}

test("WebSocketSession ends a ping flood whose pongs nobody reads", { timeout }, async (t) => {
  const opened = await openTestPort(t);
  const client = await openRawWebSocket(t, opened.port.port);
  const session = await opened.handler.opened.take();
  client.socket.pause();
  const ping = webSocketFrame(9, Buffer.alloc(125));
  const flood = Buffer.concat(Array.from({ length: 5000 }, () => ping));
  let bufferedBytesMax = 0;
  const closed = opened.handler.closed.take();
  while (session.isOpen && !client.socket.destroyed) {
    bufferedBytesMax = Math.max(bufferedBytesMax, session.bufferedBytes);
    await new Promise((resolve) => client.socket.write(flood, resolve));
  }
  assert.equal(await closed, session);
  assert.ok(bufferedBytesMax < 64 * 1024, `${bufferedBytesMax} bytes of pongs queued`);
});

test("WebSocketSession cuts off a message that stalls", { timeout }, async (t) => {
  const opened = await openTestPort(t, { limits: { frameDeadlineMs: 40 } });
  const client = await openRawWebSocket(t, opened.port.port);
  const session = await opened.handler.opened.take();
  client.write(webSocketFrame(BINARY, Buffer.alloc(10), { announced: 1000 }));
  assert.equal(await opened.handler.closed.take(), session);
  assert.equal(opened.port.counters.refusals("frame-deadline"), 1);
});

test("WebSocketSession does not take pongs for the progress of a message", { timeout }, async (t) => {
  const opened = await openTestPort(t, { limits: { frameDeadlineMs: 400, pingIntervalMs: 100 } });
  const client = await openRawWebSocket(t, opened.port.port);
  client.socket.on("data", () => client.socket.write(webSocketFrame(10, Buffer.alloc(0))));
  client.write(webSocketFrame(BINARY, Buffer.alloc(10), { isFinal: false }));
  await opened.handler.closed.take();
  assert.equal(opened.port.counters.refusals("frame-deadline"), 1);
  assert.equal(opened.port.counters.refusals("dead-peer"), 0);
});

test(
  "WebSocketSession drops a peer that answers no ping, and keeps an idle one that does",
  { timeout },
  async (t) => {
    const opened = await openTestPort(t, { limits: { pingIntervalMs: 100, frameDeadlineMs: 150 } });
    const alive = await openWebSocket(t, opened);
    await opened.handler.opened.take();
    await openRawWebSocket(t, opened.port.port);
    const dead = await opened.handler.opened.take();
    assert.equal(await opened.handler.closed.take(), dead);
    assert.equal(opened.port.counters.refusals("dead-peer"), 1);
    // Long enough for its pongs to be taken for a frame that does not end.
    for (let count = 0; count < 4; count++) await once(alive, "ping");
    assert.equal(alive.readyState, WebSocket.OPEN);
  },
);

test(
  "WebSocketSession stops reading while a reason to pause remains, and is not taken for dead",
  { timeout },
  async (t) => {
    const opened = await openTestPort(t, { limits: { pingIntervalMs: 250 } });
    const client = await openWebSocket(t, opened);
    const session = await opened.handler.opened.take();
    const other = await openWebSocket(t, opened);
    const pausedFrames = new Inbox<true>();
    opened.handler.onRequest = (from, frame) => {
      if (from === session) pausedFrames.put(true);
      else from.send(frame);
    };
    session.pause("ring-full");
    for (let index = 0; index < 40; index++) client.send(Buffer.alloc(1 << 20, 66));
    // Several ping intervals pass, in which the other connection is read.
    for (let count = 0; count < 3; count++) {
      await once(other, "ping");
      other.send(Buffer.of(66, 1));
      await once(other, "message");
    }
    assert.equal(pausedFrames.size, 0);
    session.resume("ring-full");
    for (let count = 0; count < 40; count++) await pausedFrames.take();
    assert.equal(session.isOpen, true);
  },
);

test(
  "WebSocketSession cuts off a client that never reads, and queues no more than was sent",
  { timeout },
  async (t) => {
    const limits = { slowReaderDeadlineMs: 40, outboundBufferedBytesMax: 64 * 1024 };
    const opened = await openTestPort(t, { limits });
    const client = await openRawWebSocket(t, opened.port.port);
    const session = await opened.handler.opened.take();
    client.socket.pause();
    for (let count = 0; count < 32; count++) session.send(Buffer.alloc(1 << 20, 70));
    assert.ok(session.bufferedBytes > 64 * 1024);
    assert.equal(await opened.handler.closed.take(), session);
    assert.equal(opened.port.counters.refusals("slow-reader"), 1);
  },
);

test("WebSocketSession tells the handler when a slow reader has caught up", { timeout }, async (t) => {
  const opened = await openTestPort(t, { limits: { outboundBufferedBytesMax: 64 * 1024 } });
  const client = await openWebSocket(t, opened);
  const session = await opened.handler.opened.take();
  client.pause();
  while (session.bufferedBytes <= 64 * 1024) session.send(Buffer.alloc(32 * 1024, 70));
  assert.equal(opened.handler.drained.size, 0);
  client.resume();
  assert.equal(await opened.handler.drained.take(), session);
  assert.equal(session.bufferedBytes, 0);
});

test("WebSocketSession flushes what was sent before it closes", { timeout }, async (t) => {
  const opened = await openTestPort(t);
  const client = await openWebSocket(t, opened);
  const session = await opened.handler.opened.take();
  let bytes = 0;
  client.on("message", (data: Buffer) => (bytes += data.length));
  for (let count = 0; count < 8; count++) session.send(Buffer.alloc(1 << 20, 70));
  session.pause("outbound");
  session.close("enough");
  assert.equal(session.isOpen, false);
  session.send(Buffer.of(70, 1));
  const [code, reason] = (await once(client, "close")) as [number, Buffer];
  assert.equal(code, 1000);
  assert.equal(reason.toString(), "enough");
  assert.equal(bytes, 8 << 20);
});

test("WebSocketSession cuts a long reason to close between two characters", { timeout }, async (t) => {
  const opened = await openTestPort(t);
  const client = await openWebSocket(t, opened);
  const session = await opened.handler.opened.take();
  const long = "Stöße – ".repeat(20);
  session.close(long);
  const [, reason] = (await once(client, "close")) as [number, Buffer];
  assert.ok(reason.length > 119 && long.startsWith(reason.toString()), reason.toString());
});

test("WebSocketSession closes with 1011 when the handler throws", { timeout }, async (t) => {
  const opened = await openTestPort(t);
  opened.handler.onRequest = () => {
    throw new Error("planted");
  };
  const client = await openWebSocket(t, opened);
  client.send(Buffer.of(66, 1));
  const [code] = (await once(client, "close")) as [number];
  assert.equal(code, 1011);
});

const owner = (): TokenAuthenticator => new TokenAuthenticator({ token: EXAMPLE_TOKEN, clock: systemClock });
const upgrades = [
  ["no token", {}, 401],
  ["a wrong token", { Authorization: "Bearer EXAMPLETOKEN0124" }, 401],
  ["the token in the query", {}, 400, `/v1/ws?token=${EXAMPLE_TOKEN}`],
  ["the token", { Authorization: `Bearer ${EXAMPLE_TOKEN}` }, 101],
  [
    "the token as a protocol",
    { "Sec-WebSocket-Protocol": `millrace.v1, millrace.token.${EXAMPLE_TOKEN}` },
    101,
  ],
  ["no protocol", { "Sec-WebSocket-Protocol": undefined, Authorization: `Bearer ${EXAMPLE_TOKEN}` }, 400],
  ["another protocol", { "Sec-WebSocket-Protocol": "mqtt", Authorization: `Bearer ${EXAMPLE_TOKEN}` }, 400],
  ["a foreign origin", { Origin: "https://evil.example", Authorization: `Bearer ${EXAMPLE_TOKEN}` }, 403],
  ["the origin null", { Origin: "null", Authorization: `Bearer ${EXAMPLE_TOKEN}` }, 403],
  ["an allowed origin", { Origin: "https://good.example", Authorization: `Bearer ${EXAMPLE_TOKEN}` }, 101],
  ["a foreign host", { Host: "evil.example", Authorization: `Bearer ${EXAMPLE_TOKEN}` }, 403],
  ["another path", { Authorization: `Bearer ${EXAMPLE_TOKEN}` }, 404, "/v1/wss"],
] as const;

for (const [what, headers, status, target] of upgrades) {
  test(`WebSocketService answers an upgrade with ${what} with ${status}`, { timeout }, async (t) => {
    const options = { authenticator: owner(), allowedOrigins: ["https://good.example"] };
    const { port, handler } = await openTestPort(t, options);
    const request = upgradeRequest(port.port, headers, target);
    if (status === 101) {
      const client = new RawClient(t, port.port);
      client.write(request);
      assert.equal((await client.take(12)).toString(), "HTTP/1.1 101");
      assert.equal((await handler.opened.take()).principal.name, "owner");
      return;
    }
    assert.match(await statusLine(t, port.port, request), new RegExp(`^HTTP/1.1 ${status} `));
    assert.equal(handler.opened.size, 0);
  });
}

test("WebSocketService answers 503 until the engine is ready", { timeout }, async (t) => {
  const { port, health } = await openTestPort(t, { isReady: false });
  assert.match(await statusLine(t, port.port, upgradeRequest(port.port)), /^HTTP\/1.1 503 /);
  health.setReady();
  await openRawWebSocket(t, port.port);
  health.setStopping();
  assert.match(await statusLine(t, port.port, upgradeRequest(port.port)), /^HTTP\/1.1 503 /);
});
