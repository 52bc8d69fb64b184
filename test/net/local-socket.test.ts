import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { once } from "node:events";
import {
  chmodSync,
  chownSync,
  existsSync,
  linkSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { connect, createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { test, type TestContext } from "node:test";
import { WebSocket } from "ws";
import { systemClock } from "../../src/core/clock.ts";
import { MillraceError } from "../../src/core/errors.ts";
import { StatusCode } from "../../src/core/status-code.ts";
import { TokenAuthenticator } from "../../src/net/token-authenticator.ts";
import { decodeConnectResponse, encodeConnect } from "../../src/wire/connect.ts";
import { prefixFrame } from "../../src/wire/frame-decoder.ts";
import { EXAMPLE_TOKEN, openTestPort, type TestPort } from "./port-fixture.ts";

const timeout = 20_000;
const isRoot = process.geteuid?.() === 0;
/** "nobody" on Debian; it need not exist. */
const OTHER_USER = 65_534;

function socketPath(t: TestContext): string {
  const directory = mkdtempSync(path.join(tmpdir(), "millrace-socket-"));
  t.after(() => rmSync(directory, { recursive: true }));
  return path.join(directory, "millrace.sock");
}

async function openWithSocket(
  t: TestContext,
  file: string,
  { authenticate = true, group }: { authenticate?: boolean; group?: string } = {},
): Promise<TestPort> {
  const authenticator = new TokenAuthenticator({ token: EXAMPLE_TOKEN, clock: systemClock });
  return openTestPort(t, { authenticator, localSocket: { path: file, group, authenticate } });
}

/** The status of a Connect by the stream manager protocol. */
async function connectStatus(t: TestContext, socket: Socket, authToken?: string): Promise<number> {
  t.after(() => socket.destroy());
  const request = { requestId: "c", protocolVersion: "1.1.0", otherSupportedProtocolVersions: [] };
  const frame = encodeConnect({ ...request, ...(authToken !== undefined && { authToken }) });
  socket.write(Buffer.concat([Buffer.of(1), prefixFrame(frame)]));
  let received = Buffer.alloc(0);
  while (received.length < 5 || received.length < 5 + received.readUInt32BE(1)) {
    const [chunk] = (await once(socket, "data")) as [Buffer];
    received = Buffer.concat([received, chunk]);
  }
  return decodeConnectResponse(received.subarray(5)).status;
}

async function opensWebSocket(t: TestContext, file: string, token?: string): Promise<boolean> {
  const headers = token === undefined ? {} : { Authorization: `Bearer ${token}` };
  const webSocket = new WebSocket(`ws+unix://${file}:/v1/ws`, "millrace.v1", { headers });
  t.after(() => webSocket.terminate());
  return new Promise((resolve) => {
    webSocket.once("open", () => resolve(true));
    webSocket.once("error", () => resolve(false));
  });
}

test(
  "the Unix socket is for its user alone, and serves both protocols to who has a token",
  { timeout },
  async (t) => {
    const file = socketPath(t);
    const { port, handler } = await openWithSocket(t, file);
    assert.equal(statSync(file).mode & 0o777, 0o600);
    assert.equal(await connectStatus(t, connect(file), EXAMPLE_TOKEN), StatusCode.Success);
    assert.equal((await handler.opened.take()).peer, "local");
    assert.equal(await connectStatus(t, connect(file)), StatusCode.Unauthorized);
    assert.equal(await opensWebSocket(t, file, EXAMPLE_TOKEN), true);
    assert.equal((await handler.opened.take()).transport, "websocket");
    assert.equal(await opensWebSocket(t, file), false);
    assert.equal(port.connectionCount > 0, true);
    await port.close();
    assert.equal(existsSync(file), false);
    assert.equal(port.connectionCount, 0);
  },
);

test("the Unix socket may do without tokens, which does not open the port", { timeout }, async (t) => {
  const file = socketPath(t);
  const { port, handler } = await openWithSocket(t, file, { authenticate: false });
  assert.equal(await connectStatus(t, connect(file)), StatusCode.Success);
  assert.equal((await handler.opened.take()).principal.name, "anyone");
  assert.equal(await opensWebSocket(t, file), true);
  const overPort = connect({ port: port.port, host: "127.0.0.1" });
  assert.equal(await connectStatus(t, overPort), StatusCode.Unauthorized);
});

test("the Unix socket is given to a group, by name or by number", { timeout }, async (t) => {
  const ownId = process.getgid?.() ?? 0;
  const groupId = isRoot ? 54_321 : ownId;
  const file = socketPath(t);
  const { port } = await openWithSocket(t, file, { group: String(groupId) });
  const { mode, gid } = statSync(file);
  assert.deepEqual([mode & 0o777, gid], [0o660, groupId]);
  await port.close();
  const [name = "", , id] = readFileSync("/etc/group", "latin1").split("\n")[0]!.split(":");
  if (!isRoot && Number(id) !== ownId) return;
  await openWithSocket(t, file, { group: name });
  assert.equal(statSync(file).gid, Number(id));
});

test(
  "another user cannot open the Unix socket, and one of its group can",
  { timeout, skip: !isRoot && "needs root" },
  async (t) => {
    const file = socketPath(t);
    chmodSync(path.dirname(file), 0o755);
    const tryAs = (gid: number): string => {
      const script = `require("node:net").connect(${JSON.stringify(file)})
      .on("connect", () => { console.log("open"); process.exit(); }).on("error", (e) => console.log(e.code))`;
      const { stdout } = spawnSync(process.execPath, ["-e", script], {
        uid: OTHER_USER,
        gid,
        encoding: "utf8",
      });
      return stdout.trim();
    };
    const first = await openWithSocket(t, file);
    assert.equal(tryAs(OTHER_USER), "EACCES");
    await first.port.close();
    await openWithSocket(t, file, { group: "54321" });
    assert.equal(tryAs(OTHER_USER), "EACCES");
    // The kernel accepts for us while spawnSync keeps this thread.
    assert.equal(tryAs(54_321), "open");
  },
);

/** A socket that nobody listens on: the name outlives who bound it under another. */
async function leaveDeadSocket(file: string): Promise<void> {
  const server = createServer().listen(`${file}.other`);
  await once(server, "listening");
  linkSync(`${file}.other`, file);
  server.close();
  await once(server, "close");
}

test("the Unix socket takes the place of one that a killed engine left", { timeout }, async (t) => {
  const file = socketPath(t);
  await leaveDeadSocket(file);
  const refused = connect(file);
  const code = await new Promise((resolve) => {
    refused.once("error", (error: NodeJS.ErrnoException) => resolve(error.code));
  });
  assert.equal(code, "ECONNREFUSED");
  await openWithSocket(t, file);
  assert.equal(await connectStatus(t, connect(file), EXAMPLE_TOKEN), StatusCode.Success);
});

const isRefusal = (text: RegExp) => (error: unknown) =>
  error instanceof MillraceError && error.code === "INVALID_SETTING" && text.test(error.message);

test(
  "the Unix socket takes nothing that is not a dead socket of ours, and leaves the port then",
  { timeout },
  async (t) => {
    const file = socketPath(t);
    writeFileSync(file, "data");
    await assert.rejects(openWithSocket(t, file), isRefusal(/something else has that name/));
    assert.equal(readFileSync(file, "utf8"), "data");
    rmSync(file);
    const { port } = await openWithSocket(t, file);
    await assert.rejects(openWithSocket(t, file), isRefusal(/another process listens on it/));
    assert.equal(await connectStatus(t, connect(file), EXAMPLE_TOKEN), StatusCode.Success);
    await port.close();
    await assert.rejects(
      openWithSocket(t, `/tmp/${"x".repeat(120)}`),
      isRefusal(/has 125 bytes, a socket's at most 107/),
    );
    await assert.rejects(openWithSocket(t, path.join(file, "nowhere")), isRefusal(/Cannot listen on .*: E/));
    await assert.rejects(openWithSocket(t, file, { group: "no-such-group" }), isRefusal(/there is no group/));
    // All or none: the port that was opened first is free again.
    const free = await openTestPort(t);
    const taken = {
      path: path.join(path.dirname(file), "no", "where"),
      group: undefined,
      authenticate: true,
    };
    await free.port.close();
    await assert.rejects(openTestPort(t, { port: free.port.port, localSocket: taken }));
    await (await openTestPort(t, { port: free.port.port })).port.close();
  },
);

test("the Unix socket is not put where other users could replace it", { timeout }, async (t) => {
  const file = socketPath(t);
  const directory = path.dirname(file);
  chmodSync(directory, 0o757);
  await assert.rejects(openWithSocket(t, file), isRefusal(/mode 757 of \S+ lets others replace it/));
  assert.equal(existsSync(file), false);
  // As /tmp: others may add files, and remove their own only.
  chmodSync(directory, 0o1777);
  await (await openWithSocket(t, file)).port.close();
  if (!isRoot) return;
  chmodSync(directory, 0o755);
  chownSync(directory, OTHER_USER, OTHER_USER);
  await assert.rejects(openWithSocket(t, file), isRefusal(/belongs to user 65534/));
});

test("the Unix socket is left with the port while storage hangs, and taken again", { timeout }, async (t) => {
  const file = socketPath(t);
  const { port } = await openWithSocket(t, file);
  assert.equal(await connectStatus(t, connect(file), EXAMPLE_TOKEN), StatusCode.Success);
  port.suspend();
  assert.equal(existsSync(file), false);
  await port.resume();
  assert.equal(await connectStatus(t, connect(file), EXAMPLE_TOKEN), StatusCode.Success);
});

test("port and Unix socket share the number of connections", { timeout }, async (t) => {
  const file = socketPath(t);
  const localSocket = { path: file, group: undefined, authenticate: true };
  const { port } = await openTestPort(t, { localSocket, limits: { connectionsMax: 1 } });
  const first = connect(file);
  assert.equal(await connectStatus(t, first, EXAMPLE_TOKEN), StatusCode.Success);
  const second = connect({ port: port.port, host: "127.0.0.1" });
  t.after(() => second.destroy());
  second.on("error", () => undefined).resume();
  await once(second, "close");
  assert.equal(port.counters.refusals("connections-max"), 1);
});
