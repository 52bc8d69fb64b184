import assert from "node:assert/strict";
import { chmodSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { request } from "node:https";
import { connect as connectPlain } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { test, type TestContext } from "node:test";
import { connect, type ConnectionOptions, type TLSSocket } from "node:tls";
import { once } from "node:events";
import { WebSocket } from "ws";
import { MillraceError } from "../../src/core/errors.ts";
import { StatusCode } from "../../src/core/status-code.ts";
import { systemTimers } from "../../src/core/timers.ts";
import type { PlainFrom } from "../../src/net/connection-door.ts";
import type { PortLimits } from "../../src/net/port-limits.ts";
import { readTlsMaterial, type TlsPaths } from "../../src/net/tls-files.ts";
import { createLogger } from "../../src/observe/logger.ts";
import { Metrics } from "../../src/observe/metrics.ts";
import { decodeConnectResponse, encodeConnect } from "../../src/wire/connect.ts";
import { prefixFrame } from "../../src/wire/frame-decoder.ts";
import { makeCertificate, type TestCertificate } from "../support/certificates.ts";
import { appendReply, openTestPort, RawClient, type TestPort, upgradeRequest } from "./port-fixture.ts";

const timeout = 20_000;

interface SecurePort extends TestPort {
  readonly paths: TlsPaths;
  readonly made: TestCertificate;
  readonly lines: string[];
  readonly metrics: Metrics;
}

function writeTls(directory: string, { certificate, key }: TestCertificate): TlsPaths {
  const paths = { certificate: path.join(directory, "cert.pem"), key: path.join(directory, "key.pem") };
  writeFileSync(paths.certificate, certificate);
  writeFileSync(paths.key, key, { mode: 0o600 });
  return paths;
}

function makeDirectory(t: TestContext): string {
  const directory = mkdtempSync(path.join(tmpdir(), "millrace-tls-"));
  t.after(() => rmSync(directory, { recursive: true }));
  return directory;
}

async function openSecurePort(
  t: TestContext,
  options: { plainFrom?: PlainFrom; made?: TestCertificate; limits?: Partial<PortLimits> } = {},
): Promise<SecurePort> {
  const { plainFrom = "nowhere", made = makeCertificate(), limits = {} } = options;
  const paths = writeTls(makeDirectory(t), made);
  const lines: string[] = [];
  const logger = createLogger({ level: "DEBUG", destination: { write: (line: string) => lines.push(line) } });
  const metrics = new Metrics();
  const tls = { paths, plainFrom, timers: systemTimers };
  const opened = await openTestPort(t, { tls, logger, metrics, limits });
  return { ...opened, paths, made, lines, metrics };
}

async function secureSocket(
  t: TestContext,
  { port, made }: SecurePort,
  options: ConnectionOptions = {},
): Promise<TLSSocket> {
  const halfOpen = { allowHalfOpen: true };
  const to = { port: port.port, host: "127.0.0.1", ca: made.certificate };
  const socket = connect({ ...to, ...halfOpen, ...options });
  t.after(() => socket.destroy());
  socket.on("error", () => undefined);
  await once(socket, "secureConnect");
  return socket;
}

const connectFrame = (): Buffer => {
  const connect = { requestId: "c", protocolVersion: "1.1.0", otherSupportedProtocolVersions: [] };
  return Buffer.concat([Buffer.of(1), prefixFrame(encodeConnect(connect))]);
};

/** Until the peer has ended it, in whatever way. */
async function ended(socket: TLSSocket): Promise<void> {
  socket.resume();
  await Promise.race([once(socket, "end"), once(socket, "close")]);
}

async function readFrames(socket: TLSSocket, byteCount: number): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let length = 0;
  while (length < byteCount) {
    const [chunk] = (await once(socket, "data")) as [Buffer];
    chunks.push(chunk);
    length += chunk.length;
  }
  return Buffer.concat(chunks);
}

async function overHttps(secure: SecurePort, target: string): Promise<string> {
  const { port, made } = secure;
  const asked = request({
    port: port.port,
    host: "127.0.0.1",
    path: target,
    ca: made.certificate,
    agent: false,
  });
  asked.end();
  const [response] = (await once(asked, "response")) as [AsyncIterable<Buffer> & { statusCode: number }];
  const chunks: Buffer[] = [];
  for await (const chunk of response) chunks.push(chunk);
  return `${response.statusCode} ${Buffer.concat(chunks).toString()}`;
}

test("the port speaks HTTP, WebSocket and the stream manager protocol inside TLS", { timeout }, async (t) => {
  const secure = await openSecurePort(t);
  assert.match(await overHttps(secure, "/healthz"), /^200 .*alive/);

  const webSocket = new WebSocket(`wss://localhost:${secure.port.port}/v1/ws`, "millrace.v1", {
    ca: secure.made.certificate,
  });
  t.after(() => webSocket.terminate());
  await once(webSocket, "open");
  secure.handler.onRequest = (session, frame) => session.send(frame);
  const large = Buffer.alloc(3 << 20, 66);
  webSocket.send(large);
  const [echoed] = (await once(webSocket, "message")) as [Buffer];
  assert.ok(echoed.equals(large));
  await secure.handler.frames.take();

  const socket = await secureSocket(t, secure);
  socket.write(connectFrame());
  const response = await readFrames(socket, 5);
  assert.equal(decodeConnectResponse(response.subarray(5)).status, StatusCode.Success);
  secure.handler.onRequest = (session) => session.send(appendReply("a", 7));
  // A client that has said its last is still answered.
  socket.end(prefixFrame(Buffer.of(4, 0xa0)));
  assert.deepEqual((await secure.handler.frames.take()).frame, Buffer.of(4, 0xa0));
  const reply = await readFrames(socket, 5);
  assert.deepEqual(reply.subarray(4), Buffer.from(appendReply("a", 7)));
  await once(socket, "end");
});

test("the port keeps an idle WebSocket over TLS however long", { timeout }, async (t) => {
  const limits = { pingIntervalMs: 400, frameDeadlineMs: 500 };
  const secure = await openSecurePort(t, { limits });
  const webSocket = new WebSocket(`wss://localhost:${secure.port.port}/v1/ws`, "millrace.v1", {
    ca: secure.made.certificate,
  });
  t.after(() => webSocket.terminate());
  await once(webSocket, "open");
  // Each is answered, and the frame deadline passes again and again.
  for (let pings = 0; pings < 4; pings++) await once(webSocket, "ping");
  assert.equal(webSocket.readyState, WebSocket.OPEN);
  assert.equal(secure.port.counters.refusals("frame-deadline"), 0);
  // And a message that stalls is still found.
  const socket = await secureSocket(t, secure);
  socket.write(upgradeRequest(secure.port.port));
  await once(socket, "data");
  socket.write(Buffer.of(0x82, 0xfe, 0x10));
  await ended(socket);
  assert.equal(secure.port.counters.refusals("frame-deadline"), 1);
});

test("the port refuses versions of TLS before 1.2, and what is no handshake", { timeout }, async (t) => {
  const secure = await openSecurePort(t);
  assert.equal((await secureSocket(t, secure, { maxVersion: "TLSv1.2" })).getProtocol(), "TLSv1.2");
  assert.equal((await secureSocket(t, secure)).getProtocol(), "TLSv1.3");
  const old = { minVersion: "TLSv1", maxVersion: "TLSv1.1", ciphers: "DEFAULT@SECLEVEL=0" } as const;
  await assert.rejects(secureSocket(t, secure, old));
  const garbage = new RawClient(t, secure.port.port);
  garbage.write(Buffer.from("160301000401020304", "hex"));
  await garbage.ending;
  while (secure.port.counters.refusals("tls") < 2) await new Promise((resolve) => setImmediate(resolve));
});

test(
  "the port gives up a handshake that is not finished, and a silence after one",
  { timeout },
  async (t) => {
    const secure = await openSecurePort(t, { limits: { handshakeDeadlineMs: 50, firstByteDeadlineMs: 50 } });
    const stalled = new RawClient(t, secure.port.port);
    stalled.write(Buffer.from("16030100a5", "hex"));
    await stalled.ending;
    assert.equal(secure.port.counters.refusals("tls"), 1);
    await ended(await secureSocket(t, secure));
    assert.equal(secure.port.counters.refusals("first-byte-deadline"), 1);
    while (secure.port.connectionCount > 0) await new Promise((resolve) => setImmediate(resolve));
  },
);

test("the port says what it speaks to clients without TLS", { timeout }, async (t) => {
  const secure = await openSecurePort(t, { plainFrom: "nowhere" });
  for (const plain of [
    upgradeRequest(secure.port.port),
    "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n",
  ]) {
    const client = new RawClient(t, secure.port.port);
    client.write(plain);
    assert.match((await client.takeAll()).toString(), /^HTTP\/1\.1 400 [^]*\r\n\r\nthis port speaks TLS/);
  }
  const official = new RawClient(t, secure.port.port);
  official.write(connectFrame());
  const { status, errorMessage } = decodeConnectResponse(await official.takeConnectResponse());
  assert.equal(status, StatusCode.Unauthorized);
  assert.match(errorMessage, /^Cannot connect: this port speaks TLS/);
  assert.equal(await official.ending, "end");
  assert.equal(secure.port.counters.refusals("plain"), 3);
  assert.equal(secure.handler.opened.size, 0);
});

test(
  "the port lets clients of this machine do without TLS, as the official ones must",
  { timeout },
  async (t) => {
    const secure = await openSecurePort(t, { plainFrom: "loopback" });
    const official = new RawClient(t, secure.port.port);
    official.write(connectFrame());
    assert.equal(decodeConnectResponse(await official.takeConnectResponse()).status, StatusCode.Success);
    assert.match(await overHttps(secure, "/healthz"), /^200 /);
  },
);

test("the port without a certificate closes what wants TLS", { timeout }, async (t) => {
  const { port } = await openTestPort(t);
  const socket = connect({ port: port.port, host: "127.0.0.1", rejectUnauthorized: false });
  t.after(() => socket.destroy());
  await assert.rejects(once(socket, "secureConnect"));
  assert.equal(port.counters.refusals("tls"), 1);
});

test(
  "reload takes a new certificate for new connections and keeps those that are open",
  { timeout },
  async (t) => {
    const secure = await openSecurePort(t);
    secure.handler.onRequest = (session, frame) => session.send(frame);
    const before = await secureSocket(t, secure);
    before.write(connectFrame());
    await once(before, "data");
    const next = makeCertificate({ notAfter: new Date("2099-01-01T00:00:00Z") });
    writeTls(path.dirname(secure.paths.certificate), next);
    await secureSocket(t, secure);
    secure.port.reload();
    await assert.rejects(secureSocket(t, secure), /self-signed|unable to verify/);
    const after = await secureSocket(t, { ...secure, made: next });
    assert.equal(after.getPeerCertificate().valid_to, "Jan  1 00:00:00 2099 GMT");
    before.write(prefixFrame(Buffer.of(66, 1)));
    assert.deepEqual(await readFrames(before, 6), Buffer.from(prefixFrame(Buffer.of(66, 1))));
    const { body } = await secure.metrics.render();
    assert.match(body, /^millrace_tls_certificate_not_after_seconds 4070908800$/m);
  },
);

test("reload keeps the old certificate when the new files cannot be used", { timeout }, async (t) => {
  const secure = await openSecurePort(t);
  writeFileSync(secure.paths.certificate, makeCertificate().certificate);
  secure.port.reload();
  await secureSocket(t, secure);
  const said = secure.lines.filter((line) => line.includes("tls.failed"));
  assert.match(said.join(""), /"level":"ERROR".*it is not the key of/);
  rmSync(secure.paths.key);
  secure.port.reload();
  await secureSocket(t, secure);
  for (const line of secure.lines) assert.ok(!line.includes("PRIVATE KEY"));
});

test("the port warns of a certificate that expires soon", { timeout }, async (t) => {
  const expiring = async (days: number): Promise<string> => {
    const notAfter = new Date(Date.now() + days * 86_400_000 + 3_600_000);
    const { lines } = await openSecurePort(t, { made: makeCertificate({ notAfter }) });
    return lines.filter((line) => line.includes("tls.expiring")).join("");
  };
  assert.equal(await expiring(15), "");
  assert.match(await expiring(13), /"level":"WARN".*expires in 13 days/);
  assert.match(await expiring(-3), /expired 2 days ago/);
});

const isRefusal = (text: RegExp) => (error: unknown) =>
  error instanceof MillraceError &&
  error.code === "INVALID_SETTING" &&
  text.test(error.message) &&
  !error.message.includes("PRIVATE");

test("readTlsMaterial refuses what cannot be served, by its path and without its content", (t) => {
  const directory = makeDirectory(t);
  const made = makeCertificate();
  const paths = writeTls(directory, made);
  assert.equal(readTlsMaterial(paths).key.toString(), made.key);
  for (const mode of [0o640, 0o604, 0o644]) {
    chmodSync(paths.key, mode);
    assert.throws(() => readTlsMaterial(paths), isRefusal(/key\.pem: mode .* lets others in/));
  }
  chmodSync(paths.key, 0o600);
  writeFileSync(paths.key, makeCertificate().key);
  assert.throws(() => readTlsMaterial(paths), isRefusal(/it is not the key of/));
  writeFileSync(paths.key, made.key.slice(0, 100));
  assert.throws(() => readTlsMaterial(paths), isRefusal(/Cannot use TLS key .*key\.pem/));
  writeFileSync(paths.key, made.key);
  writeFileSync(paths.certificate, "no certificate");
  assert.throws(() => readTlsMaterial(paths), isRefusal(/Cannot use TLS certificate .*cert\.pem/));
  rmSync(paths.certificate);
  assert.throws(() => readTlsMaterial(paths), isRefusal(/cert\.pem: ENOENT/));
  // A link, as programs that renew certificates put it.
  writeFileSync(path.join(directory, "cert-1.pem"), made.certificate);
  symlinkSync(path.join(directory, "cert-1.pem"), paths.certificate);
  assert.ok(readTlsMaterial(paths).notAfterMs > Date.now());
});

test("ten thousand bytes of noise at a TLS port end the connection only", { timeout }, async (t) => {
  const secure = await openSecurePort(t);
  for (let seed = 1; seed <= 20; seed++) {
    const noise = Buffer.alloc(10_000, seed);
    noise[0] = 0x16;
    const socket = connectPlain(secure.port.port, "127.0.0.1");
    socket.on("error", () => undefined);
    socket.write(noise);
    socket.resume();
    await once(socket, "close");
  }
  assert.match(await overHttps(secure, "/healthz"), /^200 /);
});
