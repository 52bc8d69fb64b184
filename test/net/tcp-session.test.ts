import assert from "node:assert/strict";
import { test, type TestContext } from "node:test";
import { systemClock } from "../../src/core/clock.ts";
import { OVERSIZE_SKIPPED_BYTES_MAX } from "../../src/core/limits.ts";
import { StatusCode } from "../../src/core/status-code.ts";
import { TokenAuthenticator } from "../../src/net/token-authenticator.ts";
import { decodeAppendMessageResponse, encodeAppendMessage } from "../../src/wire/append-message.ts";
import { decodeConnectResponse, encodeConnect } from "../../src/wire/connect.ts";
import { prefixFrame } from "../../src/wire/frame-decoder.ts";
import { encodeListStreams } from "../../src/wire/list-streams.ts";
import { Operation } from "../../src/wire/operation.ts";
import { findRequestId } from "../../src/wire/reply.ts";
import { Inbox } from "../support/inbox.ts";
import {
  appendReply,
  EXAMPLE_TOKEN,
  openTestPort,
  RawClient,
  type TestPort,
  vector,
} from "./port-fixture.ts";

const timeout = 10_000;
const CLIENTS = ["java-sdk-1.1.0", "js-core-1.7.0", "js-sdk-1.1.0", "py-sdk-1.1.1"];

function connectBytes(more: Partial<Parameters<typeof encodeConnect>[0]> = {}): Buffer {
  const connect = { requestId: "c1", protocolVersion: "1.1.0", otherSupportedProtocolVersions: [], ...more };
  return Buffer.concat([Buffer.of(1), prefixFrame(encodeConnect(connect))]);
}

function appendBytes(requestId: string, payloadBytes = 3): Uint8Array {
  return prefixFrame(encodeAppendMessage({ requestId, name: "s", payload: new Uint8Array(payloadBytes) }));
}

async function connected(t: TestContext, { port }: TestPort): Promise<RawClient> {
  const client = new RawClient(t, port.port);
  client.write(connectBytes());
  assert.equal(decodeConnectResponse(await client.takeConnectResponse()).status, StatusCode.Success);
  return client;
}

for (const name of CLIENTS) {
  test(
    `TcpSession takes the captured handshake of ${name} and answers in one write`,
    { timeout },
    async (t) => {
      const { port, handler } = await openTestPort(t);
      const client = new RawClient(t, port.port);
      const bytes = vector(`${name}.connect-whole-stream`);
      client.write(bytes);
      const response = decodeConnectResponse(await client.takeConnectResponse());
      assert.equal(response.status, StatusCode.Success);
      assert.equal(response.protocolVersion, "1.1.0");
      assert.equal(response.requestId, findRequestId(bytes.subarray(5)));
      const session = await handler.opened.take();
      assert.equal(session.protocolVersion, "1.1.0");
      assert.equal(session.transport, "tcp");
      assert.equal(session.isOpen, true);
    },
  );
}

for (const name of ["auth-java-sdk-1.1.0", "auth-js-core-1.7.0", "auth-py-sdk-1.1.1"]) {
  test(`TcpSession accepts the token of the captured ${name}`, { timeout }, async (t) => {
    const authenticator = new TokenAuthenticator({ token: EXAMPLE_TOKEN, clock: systemClock });
    const { port, handler } = await openTestPort(t, { authenticator });
    const client = new RawClient(t, port.port);
    client.write(vector(`${name}.connect-whole-stream`));
    assert.equal(decodeConnectResponse(await client.takeConnectResponse()).status, StatusCode.Success);
    assert.equal((await handler.opened.take()).principal.name, "owner");
  });
}

for (const name of CLIENTS) {
  test(
    `TcpSession answers ${name} without a token with status 2 and a FIN (PROTOCOL 9.1 rule 9)`,
    { timeout },
    async (t) => {
      const authenticator = new TokenAuthenticator({ token: EXAMPLE_TOKEN, clock: systemClock });
      const { port, handler } = await openTestPort(t, { authenticator });
      const client = new RawClient(t, port.port);
      client.write(vector(`${name}.connect-whole-stream`));
      assert.equal(decodeConnectResponse(await client.takeConnectResponse()).status, StatusCode.Unauthorized);
      assert.equal(await client.ending, "end");
      assert.equal(handler.opened.size, 0);
      assert.equal(authenticator.failureCount, 1);
    },
  );
}

test("TcpSession reassembles frames from segments of one byte", { timeout }, async (t) => {
  const { port, handler } = await openTestPort(t);
  const client = new RawClient(t, port.port);
  const append = encodeAppendMessage({ requestId: "a", name: "s", payload: new Uint8Array([7, 8, 9]) });
  for (const byte of Buffer.concat([connectBytes(), prefixFrame(append)])) {
    await new Promise<void>((resolve, reject) => {
      client.socket.write(Buffer.of(byte), (error) => (error ? reject(error) : resolve()));
    });
  }
  assert.deepEqual((await handler.frames.take()).frame, Buffer.from(append));
});

test("TcpSession chooses 1.0.0 from the other versions of a client", { timeout }, async (t) => {
  const { port, handler } = await openTestPort(t);
  const client = new RawClient(t, port.port);
  client.write(
    connectBytes({ protocolVersion: "9.0.0", otherSupportedProtocolVersions: ["8.0.0", "1.0.0"] }),
  );
  assert.equal(decodeConnectResponse(await client.takeConnectResponse()).protocolVersion, "1.0.0");
  assert.equal((await handler.opened.take()).protocolVersion, "1.0.0");
});

const refusals = [
  [
    "a version that nobody speaks",
    connectBytes({ protocolVersion: "9.0.0" }),
    StatusCode.UnsupportedProtocolVersion,
  ],
  ["a version that is none", connectBytes({ protocolVersion: "latest" }), StatusCode.InvalidProtocolVersion],
  [
    "a first frame that is not Connect",
    Buffer.concat([Buffer.of(1), prefixFrame(encodeListStreams({ requestId: "c1" }))]),
    StatusCode.UnexpectedOperation,
  ],
  ["a Connect that is no map", Buffer.of(1, 0, 0, 0, 2, 1, 0x00), StatusCode.InvalidRequest],
] as const;

for (const [what, bytes, status] of refusals) {
  test(
    `TcpSession refuses ${what} with status ${status}, then a FIN even when input is left unread`,
    { timeout },
    async (t) => {
      const { port, handler } = await openTestPort(t, { limits: { lingerDeadlineMs: 5000 } });
      const client = new RawClient(t, port.port);
      client.write(Buffer.concat([bytes, Buffer.alloc(4 << 20)]));
      const response = decodeConnectResponse(await client.takeConnectResponse());
      assert.equal(response.status, status);
      if (status !== StatusCode.InvalidRequest) assert.equal(response.requestId, "c1");
      assert.notEqual(response.errorMessage, "");
      assert.equal(await client.ending, "end");
      // The client may go on writing into a connection that has been refused; nothing of it comes back as a reset.
      const hadError = await new Promise((resolve) => {
        client.socket.once("close", resolve).end(Buffer.alloc(1 << 20));
      });
      assert.equal(hadError, false);
      assert.equal(handler.opened.size, 0);
    },
  );
}

test(
  "TcpSession cuts off a client that sends more than a Connect can be before it is known",
  { timeout },
  async (t) => {
    const { port } = await openTestPort(t);
    const client = new RawClient(t, port.port);
    client.write(Buffer.concat([Buffer.of(1, 0, 0x40, 0, 0, 1), Buffer.alloc(1 << 20)]));
    const response = decodeConnectResponse(await client.takeConnectResponse());
    assert.equal(response.status, StatusCode.RequestPayloadTooLarge);
    assert.equal(await client.ending, "end");
  },
);

test("TcpSession ends a handshake that does not come (PROTOCOL 9.1 rule 9)", { timeout }, async (t) => {
  const { port } = await openTestPort(t, { limits: { handshakeDeadlineMs: 30 } });
  const client = new RawClient(t, port.port);
  client.write(Buffer.of(1, 0, 0));
  assert.equal(await client.ending, "end");
  assert.equal(port.counters.refusals("handshake-deadline"), 1);
});

test("TcpSession lets an idle client be, far past every deadline of a frame", { timeout }, async (t) => {
  const limits = {
    handshakeDeadlineMs: 20,
    frameDeadlineMs: 20,
    slowReaderDeadlineMs: 20,
    pingIntervalMs: 20,
  };
  const opened = await openTestPort(t, { limits });
  const idle = await connected(t, opened);
  // Another client runs into its deadline three times over: by then the idle one would have run into its own.
  for (let round = 0; round < 3; round++) {
    const late = new RawClient(t, opened.port.port);
    late.write(Buffer.of(1));
    assert.equal(await late.ending, "end");
  }
  idle.write(appendBytes("later"));
  assert.equal(findRequestId((await opened.handler.frames.take()).frame), "later");
});

test("TcpSession ends a connection whose frame stays unfinished", { timeout }, async (t) => {
  const opened = await openTestPort(t, { limits: { frameDeadlineMs: 30 } });
  const client = await connected(t, opened);
  client.write(appendBytes("x", 100).subarray(0, 50));
  assert.equal(await client.ending, "end");
  assert.equal(opened.port.counters.refusals("frame-deadline"), 1);
  assert.equal(opened.handler.frames.size, 0);
});

for (const [what, hex] of [
  ["0", "00000000"],
  ["1", "0000000104"],
  ["-1", "ffffffff"],
  ["2^30 + 1", "40000001"],
] as const) {
  test(`TcpSession closes on a frame of length ${what} without a reply`, { timeout }, async (t) => {
    const opened = await openTestPort(t);
    const client = await connected(t, opened);
    client.write(Buffer.from(hex, "hex"));
    assert.equal((await client.takeAll()).length, 0);
  });
}

test(
  "TcpSession answers a frame over the limit with status 4, skips it and goes on",
  { timeout },
  async (t) => {
    const opened = await openTestPort(t, { limits: { frameBytesMax: 1000 } });
    const client = await connected(t, opened);
    client.write(appendBytes("big", 3 << 20));
    client.write(appendBytes("small"));
    const reply = decodeAppendMessageResponse(await client.takeFrame());
    assert.equal(reply.status, StatusCode.RequestPayloadTooLarge);
    assert.equal(reply.requestId, "big");
    assert.equal(findRequestId((await opened.handler.frames.take()).frame), "small");
  },
);

test("TcpSession reads on behind frames far over the limit, if slowly", { timeout }, async (t) => {
  const opened = await openTestPort(t, { limits: { frameBytesMax: 1000 } });
  const client = await connected(t, opened);
  for (const requestId of ["first", "second"]) {
    client.write(appendBytes(requestId, 2 * OVERSIZE_SKIPPED_BYTES_MAX + 1));
    client.write(appendBytes("small"));
    assert.equal(findRequestId(await client.takeFrame()), requestId);
    assert.equal(findRequestId((await opened.handler.frames.take()).frame), "small");
  }
});

test("TcpSession closes on a frame over the limit that nobody can be told about", { timeout }, async (t) => {
  const opened = await openTestPort(t, { limits: { frameBytesMax: 1000 } });
  const client = await connected(t, opened);
  client.write(Buffer.concat([Buffer.from("0000ffff42", "hex"), Buffer.alloc(65_534)]));
  assert.equal((await client.takeAll()).length, 0);
});

test("TcpSession answers a second Connect with status 9 and ends", { timeout }, async (t) => {
  const opened = await openTestPort(t);
  const client = await connected(t, opened);
  client.write(connectBytes().subarray(1));
  assert.equal(decodeConnectResponse(await client.takeFrame()).status, StatusCode.UnexpectedOperation);
  assert.equal(await client.ending, "end");
});

test("TcpSession sends replies large and small as frames, in the order of send", { timeout }, async (t) => {
  const opened = await openTestPort(t);
  const client = await connected(t, opened);
  const session = await opened.handler.opened.take();
  const sizes = [1, 100, 16 * 1024, 16 * 1024 + 1, 1 << 20];
  for (const size of sizes) session.send(Buffer.alloc(size + 1, Operation.AppendMessageResponse));
  for (const size of sizes) assert.equal((await client.takeFrame()).length, size + 1);
  assert.equal(opened.port.counters.tcp.framesSent, sizes.length);
});

test(
  "TcpSession gives a client that has said its last the replies it is owed, then a FIN (PROTOCOL 9.1 rule 10)",
  { timeout },
  async (t) => {
    const opened = await openTestPort(t);
    const client = await connected(t, opened);
    client.socket.end(Buffer.concat([appendBytes("a"), appendBytes("b")]));
    const { session } = await opened.handler.frames.take();
    await opened.handler.frames.take();
    assert.equal(session.isOpen, true);
    session.send(appendReply("a"));
    assert.equal(decodeAppendMessageResponse(await client.takeFrame()).requestId, "a");
    session.send(appendReply("b"));
    assert.equal(session.isOpen, false);
    assert.equal(decodeAppendMessageResponse(await client.takeFrame()).requestId, "b");
    assert.equal(await client.ending, "end");
    assert.equal(await opened.handler.closed.take(), session);
  },
);

test("TcpSession closes at once on the end of a client that is owed nothing", { timeout }, async (t) => {
  const opened = await openTestPort(t);
  const client = await connected(t, opened);
  const session = await opened.handler.opened.take();
  client.socket.end();
  assert.equal(await client.ending, "end");
  assert.equal(await opened.handler.closed.take(), session);
});

test("TcpSession forgets the rest of a frame that a reset cuts off", { timeout }, async (t) => {
  const opened = await openTestPort(t);
  const client = await connected(t, opened);
  const session = await opened.handler.opened.take();
  client.write(appendBytes("cut", 1000).subarray(0, 200));
  client.socket.resetAndDestroy();
  assert.equal(await opened.handler.closed.take(), session);
  assert.equal(session.isOpen, false);
  session.send(appendReply("late"));
  assert.equal(opened.handler.frames.size, 0);
});

test(
  "TcpSession closes with a FIN while the client still sends (PROTOCOL 9.1 rule 2)",
  { timeout },
  async (t) => {
    const opened = await openTestPort(t, { limits: { lingerDeadlineMs: 5000 } });
    const client = await connected(t, opened);
    opened.handler.onRequest = (session) => {
      session.send(appendReply("last"));
      session.close("enough");
    };
    client.write(Buffer.concat([appendBytes("a"), Buffer.alloc(8 << 20, 1)]));
    assert.equal(decodeAppendMessageResponse(await client.takeFrame()).requestId, "last");
    assert.equal(await client.ending, "end");
  },
);

test(
  "TcpSession costs the peer its connection when the handler throws, and nobody else",
  { timeout },
  async (t) => {
    const opened = await openTestPort(t);
    const other = await connected(t, opened);
    const client = await connected(t, opened);
    opened.handler.onRequest = (_, frame) => {
      if (findRequestId(frame) === "bad") throw new Error("planted");
    };
    client.write(appendBytes("bad"));
    assert.equal(await client.ending, "end");
    other.write(appendBytes("good"));
    await opened.handler.frames.take();
    assert.equal(findRequestId((await opened.handler.frames.take()).frame), "good");
  },
);

test("TcpSession stops reading while any reason to pause remains", { timeout }, async (t) => {
  const opened = await openTestPort(t);
  const client = await connected(t, opened);
  const session = await opened.handler.opened.take();
  const other = await connected(t, opened);
  const pausedFrames = new Inbox<true>();
  opened.handler.onRequest = (from) => {
    if (from === session) pausedFrames.put(true);
    else from.send(appendReply("o"));
  };
  /** Twenty turns in which the paused connection would have been read, were it not paused. */
  const turns = async (): Promise<void> => {
    for (let turn = 0; turn < 20; turn++) {
      other.write(appendBytes("o"));
      await other.takeFrame();
    }
  };
  session.pause("ring-full");
  session.pause("ring-full");
  session.pause("in-flight");
  for (let index = 0; index < 40; index++) client.write(appendBytes("p", 1 << 20));
  await turns();
  session.resume("in-flight");
  await turns();
  assert.equal(pausedFrames.size, 0);
  session.resume("ring-full");
  for (let count = 0; count < 40; count++) await pausedFrames.take();
});

test("TcpSession tells the handler when a slow reader has caught up", { timeout }, async (t) => {
  const opened = await openTestPort(t, { limits: { outboundBufferedBytesMax: 64 * 1024 } });
  const client = await connected(t, opened);
  const session = await opened.handler.opened.take();
  client.socket.pause();
  while (session.bufferedBytes <= 64 * 1024) session.send(Buffer.alloc(32 * 1024, 10));
  assert.equal(opened.handler.drained.size, 0);
  client.socket.resume();
  assert.equal(await opened.handler.drained.take(), session);
  assert.equal(session.bufferedBytes, 0);
});

test("TcpSession cuts off a client that never reads", { timeout }, async (t) => {
  const opened = await openTestPort(t, { limits: { slowReaderDeadlineMs: 40 } });
  const client = await connected(t, opened);
  const session = await opened.handler.opened.take();
  client.socket.pause();
  session.send(Buffer.alloc(32 << 20, 10));
  assert.equal(await opened.handler.closed.take(), session);
  assert.equal(opened.port.counters.refusals("slow-reader"), 1);
});

test("TcpSession waits, unread, until the engine is ready", { timeout }, async (t) => {
  const { port, handler, health } = await openTestPort(t, { isReady: false });
  const client = new RawClient(t, port.port);
  client.write(Buffer.concat([connectBytes(), appendBytes("early")]));
  const ready = await fetch(`http://127.0.0.1:${port.port}/readyz`);
  assert.equal(ready.status, 503);
  assert.equal(client.received.length, 0);
  health.setReady();
  assert.equal(decodeConnectResponse(await client.takeConnectResponse()).status, StatusCode.Success);
  assert.equal(findRequestId((await handler.frames.take()).frame), "early");
});

test("TcpSession does not wait for readiness for ever", { timeout }, async (t) => {
  const { port, health } = await openTestPort(t, { isReady: false, limits: { readyWaitMsMax: 30 } });
  const client = new RawClient(t, port.port);
  client.write(connectBytes());
  assert.equal((await client.takeAll()).length, 0);
  health.setReady();
  assert.equal(port.counters.refusals("not-ready"), 1);
});

test("TcpSession calls acknowledgeNow for what it reads", { timeout }, async (t) => {
  let calls = 0;
  const opened = await openTestPort(t, { acknowledgeNow: () => (calls += 1) });
  await connected(t, opened);
  assert.ok(calls >= 1);
});
