import assert from "node:assert/strict";
import { once } from "node:events";
import { connect } from "node:net";
import { test, type TestContext } from "node:test";
import { systemClock } from "../../src/core/clock.ts";
import { TokenAuthenticator } from "../../src/net/token-authenticator.ts";
import { createLogger } from "../../src/observe/logger.ts";
import { EXAMPLE_TOKEN, openTestPort, RawClient, upgradeRequest, vector } from "./port-fixture.ts";

const timeout = 10_000;

async function ask(t: TestContext, port: number, request: string): Promise<string> {
  const client = new RawClient(t, port);
  client.write(request);
  return (await client.takeAll()).toString("latin1");
}

function get(path: string, headers: Record<string, string> = {}): string {
  const all = { Host: "127.0.0.1", Connection: "close", ...headers };
  const lines = Object.entries(all).map(([name, value]) => `${name}: ${value}\r\n`);
  return `GET ${path} HTTP/1.1\r\n${lines.join("")}\r\n`;
}

test("HttpService tells alive and ready apart, without a token", { timeout }, async (t) => {
  const authenticator = new TokenAuthenticator({ token: EXAMPLE_TOKEN, clock: systemClock });
  const { health, url } = await openTestPort(t, { isReady: false, authenticator });
  assert.equal((await fetch(`${url}/healthz`)).status, 200);
  const early = await fetch(`${url}/readyz`);
  assert.equal(early.status, 503);
  assert.deepEqual(await early.json(), { status: "starting", degraded: [] });
  health.setReady();
  health.degrade("storage-read-only");
  const ready = await fetch(`${url}/readyz?verbose`);
  assert.equal(ready.status, 200);
  assert.deepEqual(await ready.json(), { status: "ready", degraded: ["storage-read-only"] });
  health.setStopping();
  assert.equal((await fetch(`${url}/readyz`)).status, 503);
});

test("HttpService knows three paths and two methods", { timeout }, async (t) => {
  const { url } = await openTestPort(t);
  assert.equal((await fetch(`${url}/`)).status, 404);
  assert.equal((await fetch(`${url}/healthz/`)).status, 404);
  assert.equal((await fetch(`${url}/healthz`, { method: "HEAD" })).status, 200);
  const refused = await fetch(`${url}/healthz`, { method: "POST", body: "x".repeat(100_000) });
  assert.equal(refused.status, 405);
  assert.equal(refused.headers.get("allow"), "GET, HEAD");
});

test("HttpService shows metrics only with the token", { timeout }, async (t) => {
  const authenticator = new TokenAuthenticator({ token: EXAMPLE_TOKEN, clock: systemClock });
  const { url } = await openTestPort(t, { authenticator });
  const refused = await fetch(`${url}/metrics`);
  assert.equal(refused.status, 401);
  assert.equal(refused.headers.get("www-authenticate"), "Bearer");
  const inQuery = await fetch(`${url}/metrics?access_token=${EXAMPLE_TOKEN}`);
  assert.equal(inQuery.status, 400);
  assert.match(await inQuery.text(), /does not belong in a URL/);
  const page = await fetch(`${url}/metrics`, { headers: { Authorization: `Bearer ${EXAMPLE_TOKEN}` } });
  assert.equal(page.status, 200);
  assert.match(page.headers.get("content-type") ?? "", /^text\/plain; version=0\.0\.4/);
  assert.match(await page.text(), /^millrace_connections_refused_total\{reason="token"\} 1$/m);
});

test("HttpService shows what the port holds at the time of the scrape", { timeout }, async (t) => {
  const { port, handler, url } = await openTestPort(t);
  const client = new RawClient(t, port.port);
  client.write(vector("js-core-1.7.0.connect-whole-stream"));
  await client.takeConnectResponse();
  const session = await handler.opened.take();
  client.socket.pause();
  session.pause("in-flight");
  session.send(Buffer.alloc(16 << 20, 10));
  const body = await (await fetch(`${url}/metrics`)).text();
  assert.match(body, /^millrace_paused_connections 1$/m);
  assert.match(body, /^millrace_outbound_buffered_bytes [1-9]\d{6,}$/m);
  assert.match(body, /^millrace_connections\{transport="tcp"\} 1$/m);
  assert.match(body, /^millrace_sent_bytes_total\{transport="tcp"\} 16777216$/m);
  assert.match(body, /^millrace_authentication_failures_total 0$/m);
});

const guarded = [
  ["127.0.0.1", {}, 200],
  ["localhost with a port", { Host: "localhost:8088" }, 200],
  ["LOCALHOST", { Host: "LOCALHOST" }, 200],
  ["[::1] with a port", { Host: "[::1]:1" }, 200],
  ["a configured host", { Host: "edge.example:8088" }, 200],
  ["a foreign host", { Host: "evil.example" }, 403],
  ["a host that begins well", { Host: "localhost.evil.example" }, 403],
  ["a user in the host", { Host: "localhost@evil.example" }, 403],
  ["an address that is not ours", { Host: "10.0.0.1" }, 403],
  ["an empty host", { Host: "" }, 403],
  ["a foreign origin", { Origin: "http://evil.example" }, 403],
  ["our own address as origin", { Origin: "http://127.0.0.1" }, 403],
  ["the origin null", { Origin: "null" }, 403],
  ["an allowed origin", { Origin: "http://good.example:3000" }, 200],
  ["an allowed origin on another port", { Origin: "http://good.example" }, 403],
  ["an image in a page of another site", { "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Dest": "image" }, 403],
  ["a script in a page of a sibling", { "Sec-Fetch-Site": "same-site", "Sec-Fetch-Dest": "script" }, 403],
  ["a frame in a page of another site", { "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Dest": "iframe" }, 403],
  ["a link that was followed", { "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Dest": "document" }, 200],
  ["an address that was typed", { "Sec-Fetch-Site": "none", "Sec-Fetch-Dest": "document" }, 200],
] as const;

for (const [what, headers, status] of guarded) {
  test(`HttpService answers ${status} to ${what}`, { timeout }, async (t) => {
    const allowed = { allowedHosts: ["edge.example"], allowedOrigins: ["http://good.example:3000"] };
    const { port } = await openTestPort(t, allowed);
    assert.match(await ask(t, port.port, get("/healthz", headers)), new RegExp(`^HTTP/1.1 ${status} `));
  });
}

test("HttpService lets a page of an allowed origin read, and tell its token", { timeout }, async (t) => {
  const authenticator = new TokenAuthenticator({ token: EXAMPLE_TOKEN, clock: systemClock });
  const { url } = await openTestPort(t, { authenticator, allowedOrigins: ["http://good.example"] });
  const Origin = "http://good.example";
  const preflight = await fetch(`${url}/metrics`, {
    method: "OPTIONS",
    headers: { Origin, "Access-Control-Request-Method": "GET" },
  });
  assert.equal(preflight.status, 204);
  assert.equal(preflight.headers.get("Access-Control-Allow-Origin"), Origin);
  assert.equal(preflight.headers.get("Access-Control-Allow-Headers"), "Authorization");
  const Authorization = `Bearer ${EXAMPLE_TOKEN}`;
  const page = await fetch(`${url}/metrics`, { headers: { Origin, Authorization } });
  assert.equal(page.status, 200);
  assert.equal(page.headers.get("Access-Control-Allow-Origin"), Origin);
  assert.equal(page.headers.get("Vary"), "Origin");
  const foreign = await fetch(`${url}/metrics`, {
    headers: { Origin: "http://evil.example", Authorization },
  });
  assert.equal(foreign.headers.get("Access-Control-Allow-Origin"), null);
  const plain = await fetch(`${url}/healthz`, { method: "OPTIONS" });
  assert.equal(plain.status, 405);
  assert.equal(plain.headers.get("Access-Control-Allow-Origin"), null);
  assert.equal(plain.headers.get("Cross-Origin-Resource-Policy"), "same-origin");
});

test("HttpService refuses a request without a host", { timeout }, async (t) => {
  const { port } = await openTestPort(t);
  assert.match(await ask(t, port.port, "GET /healthz HTTP/1.0\r\n\r\n"), /^HTTP\/1.1 403 /);
  assert.match(await ask(t, port.port, "GET /healthz HTTP/1.1\r\n\r\n"), /^HTTP\/1.1 400 /);
});

test(
  "HttpService reads a request that comes byte by byte, and several on one connection",
  { timeout },
  async (t) => {
    const { port } = await openTestPort(t);
    const client = new RawClient(t, port.port);
    const requests = get("/healthz", { Connection: "keep-alive" }) + get("/readyz");
    for (const byte of Buffer.from(requests)) {
      await new Promise((resolve) => client.socket.write(Buffer.of(byte), resolve));
    }
    const text = (await client.takeAll()).toString();
    assert.equal(text.match(/HTTP\/1\.1 200 OK/g)?.length, 2);
  },
);

test("HttpService ends a slow request at its headers deadline, however it drips", { timeout }, async (t) => {
  const { port } = await openTestPort(t, { limits: { headersDeadlineMs: 100, requestDeadlineMs: 200 } });
  const client = new RawClient(t, port.port);
  client.write("GET /healthz HTTP/1.1\r\nHost: localhost\r\n");
  const drip = setInterval(() => client.write("X-a: b\r\n"), 10);
  t.after(() => clearInterval(drip));
  await client.ending;
  assert.match(client.received.toString(), /^HTTP\/1\.1 408 /);
});

test("HttpService refuses what is not HTTP after a letter", { timeout }, async (t) => {
  const { port } = await openTestPort(t);
  assert.match(await ask(t, port.port, "hello there\r\n\r\n"), /^HTTP\/1\.1 400 /);
  assert.match(await ask(t, port.port, get("/healthz", { X: "y".repeat(20_000) })), /^HTTP\/1\.1 431 /);
});

test("no token, URL or header is in any log line of the port", { timeout }, async (t) => {
  const lines: string[] = [];
  const logger = createLogger({ level: "TRACE", destination: { write: (line) => void lines.push(line) } });
  const authenticator = new TokenAuthenticator({ token: EXAMPLE_TOKEN, clock: systemClock });
  const { port, handler } = await openTestPort(t, { logger, authenticator });
  const secrets = {
    Authorization: "Bearer CANARY-header",
    Cookie: "CANARY-cookie",
    Origin: "http://CANARY-origin",
  };
  await ask(t, port.port, get("/metrics?CANARY-query", { Authorization: "Bearer CANARY-header" }));
  await ask(t, port.port, get("/metrics", secrets));
  await ask(t, port.port, upgradeRequest(port.port, { Authorization: "Bearer CANARY" }, "/v1/ws?CANARY"));
  await ask(t, port.port, upgradeRequest(port.port, { Host: "CANARY-host" }));
  const tcp = new RawClient(t, port.port);
  tcp.write(vector("auth-js-core-1.7.0.connect-whole-stream"));
  await tcp.takeConnectResponse();
  await handler.opened.take();
  const wrong = new RawClient(t, port.port);
  wrong.write(vector("auth-js-core-1.7.0.connect-whole-stream").map((byte) => (byte === 0x45 ? 0x46 : byte)));
  await wrong.ending;
  assert.ok(lines.length >= 6, `${lines.length} lines`);
  assert.doesNotMatch(lines.join(""), /CANARY|EXAMPLETOKEN|FXAMPLFTOKFN/);
});

test(
  "HttpService takes the address that is listened on for a name of its own, and no wildcard",
  { timeout },
  async (t) => {
    const statusFor = async (host: string, named: string): Promise<string> => {
      const { port } = await openTestPort(t, { host });
      const client = connect({ port: port.port, host: host === "0.0.0.0" ? "127.0.0.1" : host });
      t.after(() => client.destroy());
      client.end(get("/healthz", { Host: named }));
      const [answer] = (await once(client, "data")) as [Buffer];
      return answer.toString("latin1").slice(9, 12);
    };
    assert.equal(await statusFor("127.0.0.2", "127.0.0.2:8088"), "200");
    assert.equal(await statusFor("127.0.0.1", "127.0.0.2"), "403");
    assert.equal(await statusFor("0.0.0.0", "0.0.0.0"), "403");
    assert.equal(await statusFor("0.0.0.0", "127.0.0.1"), "200");
  },
);
