import assert from "node:assert/strict";
import { createServer as createTcpServer, type AddressInfo, type Socket } from "node:net";
import { chmodSync, renameSync, writeFileSync } from "node:fs";
import path from "node:path";
import { test, type TestContext } from "node:test";
import { inspect } from "node:util";
import { ExportFormat } from "../../../src/core/stream-definition.ts";
import type { ExportRecord, SendOutcome } from "../../../src/export/destinations/destination.ts";
import { HttpDestination, type HttpOptions } from "../../../src/export/destinations/http.ts";
import { destinationEnvironmentDefault } from "../../../src/export/worker-settings.ts";
import { makeCertificate } from "../../support/certificates.ts";
import { temporaryDirectory } from "../../support/engine-process.ts";
import { HttpTarget, type HttpAnswer } from "../../support/http-target.ts";

const context = {
  streamId: "00112233445566778899aabbccddeeff",
  streamName: " a,ä b",
  exporterId: "ab".repeat(16),
  identifier: "h",
  streamDirectory: "/nowhere",
};
const records: readonly ExportRecord[] = ["one", "two", "three"].map((text, index) => ({
  sequence: 40 + index,
  ingestTimeMs: 1_700_000_000_000 + index,
  data: Buffer.from(text),
}));
const LOCAL = ["127.0.0.0/8", "::1"];

interface Sending {
  readonly uri?: string;
  readonly format?: ExportFormat;
  readonly batch?: readonly ExportRecord[];
  readonly environment?: Partial<HttpOptions["environment"]>;
  readonly options?: Partial<HttpOptions>;
}

class Bench {
  readonly target: HttpTarget;
  readonly #t: TestContext;
  readonly #destinations = new Map<string, HttpDestination>();

  constructor(t: TestContext, target: HttpTarget) {
    this.target = target;
    this.#t = t;
  }

  static async start(t: TestContext, ...answers: readonly HttpAnswer[]): Promise<Bench> {
    const target = await HttpTarget.start();
    t.after(() => target.close());
    const last = answers.at(-1);
    if (last !== undefined) target.answer = (_, index) => answers[index] ?? last;
    return new Bench(t, target);
  }

  /** Of the bodies of the last request. */
  requestBytes: number | undefined;

  /** One destination for each environment. */
  async send({
    uri,
    format,
    batch = records.slice(0, 1),
    environment,
    options,
  }: Sending = {}): Promise<SendOutcome> {
    const wanted = { ...destinationEnvironmentDefault, httpInward: LOCAL, ...environment };
    const key = JSON.stringify([wanted, options]);
    let destination = this.#destinations.get(key);
    if (destination === undefined) {
      const made = new HttpDestination({ environment: wanted, ...options });
      this.#t.after(() => made.close());
      this.#destinations.set(key, made);
      destination = made;
    }
    const exportFormat = format ?? ExportFormat.RAW_NOT_BATCHED;
    const { requestBytes, ...outcome } = await destination.send(
      { kind: "http", uri: uri ?? `${this.target.origin}/in`, exportFormat },
      batch,
      context,
    );
    this.requestBytes = requestBytes;
    return outcome;
  }
}

const accepted = { kind: "answered", failed: [], refused: [], error: "" };

test("HttpDestination posts each message raw, with what it is in headers that stay the same", async (t) => {
  const bench = await Bench.start(t);
  assert.deepEqual(await bench.send({ batch: records }), accepted);
  assert.deepEqual(await bench.send({ batch: records.slice(2) }), accepted);
  const { requests } = bench.target;
  assert.deepEqual(
    requests.map(({ body }) => body.toString()),
    ["one", "two", "three", "three"],
  );
  assert.equal(bench.target.connections, 1, "one kept-alive connection");
  const [first] = requests;
  assert.deepEqual([first!.method, first!.path], ["POST", "/in"]);
  const { headers } = first!;
  assert.equal(headers["content-type"], "application/octet-stream");
  assert.equal(decodeURIComponent(String(headers["millrace-stream"])), " a,ä b");
  assert.equal(headers["millrace-sequence-number"], "40");
  assert.equal(headers["millrace-ingest-time"], "1700000000000");
  assert.equal(headers["idempotency-key"], `"${context.streamId}-40"`);
  const keys = requests.map((request) => request.headers["idempotency-key"]);
  assert.equal(keys[2], keys[3]);
});

test("HttpDestination posts a batch as a JSON array of messages, with a key of its own", async (t) => {
  const bench = await Bench.start(t);
  const format = ExportFormat.JSON_BATCHED;
  const outcome = await bench.send({ format, batch: records });
  assert.deepEqual(outcome, { kind: "answered", failed: [], error: "" });
  await bench.send({ format, batch: [records[0]!, records[2]!] });
  const [whole, holed] = bench.target.requests;
  assert.equal(whole!.headers["content-type"], "application/json");
  assert.deepEqual(
    JSON.parse(whole!.body.toString()),
    records.map(({ sequence, ingestTimeMs, data }) => ({
      streamName: context.streamName,
      sequenceNumber: sequence,
      ingestTime: ingestTimeMs,
      payload: Buffer.from(data).toString("base64"),
    })),
  );
  assert.equal(whole!.headers["idempotency-key"], `"${context.streamId}-40-42"`);
  assert.notEqual(holed!.headers["idempotency-key"], whole!.headers["idempotency-key"]);
});

test("HttpDestination goes past a refused message, and sends nothing behind one that failed", async (t) => {
  const bench = await Bench.start(
    t,
    { kind: "status", status: 200 },
    { kind: "status", status: 422 },
    { kind: "status", status: 500 },
  );
  const outcome = await bench.send({ batch: [...records, ...records] });
  const { host } = new URL(bench.target.origin);
  assert.deepEqual(outcome, {
    kind: "answered",
    failed: [2, 3, 4, 5],
    refused: [{ index: 1, error: `${host} answered 422 Unprocessable Entity` }],
    error: `${host} answered 500 Internal Server Error`,
  });
  assert.equal(bench.target.requests.length, 3);
});

const busy = { kind: "failed", scope: "endpoint", pace: "backoff", timedOut: false };
const meanings: readonly (readonly [number, object])[] = [
  [200, accepted],
  [201, accepted],
  [204, accepted],
  [400, { kind: "refused" }],
  [413, { kind: "refused" }],
  [415, { kind: "refused" }],
  [422, { kind: "refused" }],
  [401, { ...busy, pace: "slow" }],
  [407, { ...busy, pace: "slow" }],
  [403, { ...busy, scope: "exporter", pace: "slow" }],
  [404, { ...busy, scope: "exporter" }],
  [405, { ...busy, scope: "exporter" }],
  [410, { ...busy, scope: "exporter" }],
  [409, { ...busy, scope: "exporter" }],
  [304, { ...busy, scope: "exporter" }],
  [408, busy],
  [425, busy],
  [429, busy],
  [500, busy],
  [502, busy],
  [503, busy],
  [504, busy],
];

test("HttpDestination takes every status for what it means", async (t) => {
  for (const [status, expected] of meanings) {
    const bench = await Bench.start(t, { kind: "status", status });
    const outcome = await bench.send();
    assert.deepEqual({ ...outcome, ...expected }, outcome, String(status));
    assert.ok(outcome.kind !== "progress");
    if (outcome.error !== "") assert.match(outcome.error, new RegExp(`answered ${status}`));
  }
});

test("HttpDestination leaves a server alone for as long as it asks, and no longer than the longest backoff", async (t) => {
  let nowMs = Date.parse("Fri, 27 Nov 2026 06:00:00 GMT");
  const clock = { nowMs: () => nowMs, monotonicMs: () => nowMs };
  const asks = async (retryAfter: string, status = 429): Promise<number | undefined> => {
    const bench = await Bench.start(t, { kind: "status", status, headers: { "retry-after": retryAfter } });
    const outcome = await bench.send({ options: { clock } });
    assert.equal(outcome.kind, "failed");
    return outcome.retryAfterMs;
  };
  assert.equal(await asks("7"), 7000);
  assert.equal(await asks("Fri, 27 Nov 2026 06:00:09 GMT", 503), 9000);
  assert.equal(await asks("86400"), 300_000);
  assert.equal(await asks("soon"), undefined);
  assert.equal(await asks("7", 500), undefined);

  const bench = await Bench.start(
    t,
    { kind: "status", status: 200 },
    { kind: "status", status: 503, headers: { "retry-after": "5" } },
  );
  await bench.send({ batch: records, options: { clock } });
  assert.equal(bench.target.requests.length, 2);
  nowMs += 4000;
  const waiting = await bench.send({ options: { clock } });
  assert.ok(waiting.kind === "failed" && waiting.retryAfterMs === 1000, inspect(waiting));
  assert.equal(bench.target.requests.length, 2, "it is not asked");
  nowMs += 1000;
  await bench.send({ options: { clock } });
  assert.equal(bench.target.requests.length, 3);
});

test("HttpDestination follows no redirect, and names no more of its target than the host", async (t) => {
  const inside = await HttpTarget.start();
  t.after(() => inside.close());
  for (const status of [301, 302, 303, 307, 308]) {
    const location = `${inside.origin}/secret-path?token=secret`;
    const bench = await Bench.start(t, { kind: "status", status, headers: { location } });
    const outcome = await bench.send({ uri: `${bench.target.origin}/in?token=secret` });
    assert.ok(outcome.kind === "failed" && outcome.scope === "exporter");
    assert.match(outcome.error, new RegExp(`a redirect, to ${new URL(inside.origin).host}, is not followed`));
    assert.doesNotMatch(outcome.error, /secret/);
  }
  assert.equal(inside.connections, 0);
});

test("HttpDestination sends again over a new connection what an idle one had been closed for", async (t) => {
  const bench = await Bench.start(t);
  await bench.send();
  const { target } = bench;
  const { port } = target;
  await target.close();
  await target.listen();
  assert.equal(target.port, port);
  assert.deepEqual(await bench.send(), accepted);
  assert.equal(target.requests.length, 2);
});

/** A server that answers whatever `speak` writes, once a request has come. */
async function rawServer(t: TestContext, speak: (socket: Socket) => void): Promise<string> {
  const sockets = new Set<Socket>();
  const server = createTcpServer((socket) => {
    sockets.add(socket);
    socket.on("error", () => undefined).once("data", () => speak(socket));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.after(() => {
    server.close();
    for (const socket of sockets) socket.destroy();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
}

/** Writes until the other side has had enough. @returns the bytes that went */
function flood(socket: Socket, head: string, piece: string): { readonly sentBytes: () => number } {
  const chunk = Buffer.from(piece.repeat(Math.ceil(65_536 / piece.length)));
  let sentBytes = 0;
  const more = (): void => {
    while (!socket.destroyed) {
      sentBytes += chunk.length;
      if (!socket.write(chunk)) return;
    }
  };
  socket.write(head);
  socket.on("drain", more);
  more();
  return { sentBytes: () => sentBytes };
}

test("HttpDestination cuts off answers, headers and promises without end", async (t) => {
  const bench = await Bench.start(t);
  let sent: { readonly sentBytes: () => number } | undefined;
  const ended: Promise<unknown>[] = [];
  const endless = (head: string, piece: string): Promise<string> =>
    rawServer(t, (socket) => {
      ended.push(new Promise((resolve) => socket.once("close", resolve)));
      sent = flood(socket, head, piece);
    });
  const body = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Encoding: gzip\r\n\r\n";
  // The status is the answer; the body is nobody's business.
  assert.deepEqual(
    await bench.send({ uri: await endless(body, `400\r\n${"x".repeat(1024)}\r\n`) }),
    accepted,
  );
  await Promise.all(ended);
  assert.ok(sent!.sentBytes() < 64 * 1024 * 1024, `${sent!.sentBytes()} bytes`);
  const header = await bench.send({ uri: await endless("HTTP/1.1 200 OK\r\n", "X-More: 1234567890\r\n") });
  assert.ok(header.kind === "failed" && header.scope === "endpoint", inspect(header));
  await Promise.all(ended);
});

test("HttpDestination gives up a server that says nothing, or never comes to an end", async (t) => {
  const bench = await Bench.start(t);
  const silent = await bench.send({
    uri: await rawServer(t, () => undefined),
    options: { progressMsMax: 400 },
  });
  assert.ok(silent.kind === "failed" && silent.timedOut, inspect(silent));
  const early = await rawServer(t, (socket) => {
    const timer = setInterval(() => socket.write("HTTP/1.1 102 Processing\r\n\r\n"), 20);
    socket.on("close", () => clearInterval(timer));
  });
  const promised = await bench.send({ uri: early, options: { progressMsMax: 400 } });
  assert.ok(promised.kind === "failed", inspect(promised));
});

test("HttpDestination reaches nothing inward that is not allowed, however the URL spells it", async (t) => {
  const bench = await Bench.start(t);
  const { port } = new URL(bench.target.origin);
  const refuse = async (
    uri: string,
    environment: Partial<HttpOptions["environment"]> = {},
  ): Promise<void> => {
    const outcome = await bench.send({ uri, environment: { httpInward: [], ...environment } });
    assert.ok(
      outcome.kind === "failed" && outcome.scope === "exporter" && outcome.pace === "slow",
      inspect(outcome),
    );
    assert.match(outcome.error, /MILLRACE_EXPORT_HTTP_INWARD/);
  };
  for (const host of [
    "127.0.0.1",
    "127.1",
    "2130706433",
    "0x7f.1",
    "0",
    "localhost",
    "LOCALHOST",
    "ⓛocalhost",
    "[::1]",
    "[::ffff:127.0.0.1]",
  ]) {
    for (const scheme of ["http", "https"]) await refuse(`${scheme}://${host}:${port}/in`);
  }
  await refuse("https://169.254.169.254/latest/meta-data/");
  await refuse("http://93.184.215.14/", { httpInward: ["10.0.0.0/8"] });
  await refuse(bench.target.origin, { httpInward: [`127.0.0.1:${Number(port) - 1}`] });
  assert.equal(bench.target.connections, 0);
});

test("HttpDestination judges the address it connects to, not the one that a name had before", async (t) => {
  const bench = await Bench.start(t);
  const { port } = new URL(bench.target.origin);
  const names = new Map([["rebound.example", ["93.184.215.14"]]]);
  const asked: string[] = [];
  const lookup = ((host: string, _: unknown, done: (error: null, found: object[]) => void) => {
    asked.push(host);
    done(
      null,
      (names.get(host) ?? []).map((address) => ({ address, family: 4 })),
    );
  }) as unknown as NonNullable<HttpOptions["lookup"]>;
  names.set("rebound.example", ["127.0.0.1"]);
  const options = { lookup };
  const uri = `https://rebound.example:${port}/`;
  const outcome = await bench.send({ uri, options, environment: { httpInward: [] } });
  assert.ok(outcome.kind === "failed" && /inward address/.test(outcome.error), inspect(outcome));
  assert.deepEqual(asked, ["rebound.example"], "asked once, and its answer is what is connected to");
  assert.equal(bench.target.connections, 0);
  // Of several addresses those that are allowed remain.
  names.set("mixed.example", ["10.9.8.7", "127.0.0.1"]);
  const mixed = await bench.send({ uri: `http://mixed.example:${port}/`, options });
  assert.deepEqual(mixed, accepted);
});

test("HttpDestination takes no password from a URL, and shows none", async (t) => {
  const bench = await Bench.start(t);
  const { host } = new URL(bench.target.origin);
  for (const uri of [`http://user:secret@${host}/`, `http://secret@${host}/`]) {
    const outcome = await bench.send({ uri });
    assert.ok(outcome.kind === "failed" && outcome.pace === "slow");
    assert.match(outcome.error, /MILLRACE_EXPORT_HTTP_HEADERS/);
    assert.doesNotMatch(inspect(outcome), /secret/);
  }
  for (const uri of ["ftp://secret@x/", "http://user:secret@[", "secret", "file:///secret"]) {
    const outcome = await bench.send({ uri });
    assert.ok(outcome.kind === "failed" && /no http:\/\/ or https:\/\/ URL/.test(outcome.error));
    assert.doesNotMatch(inspect(outcome), /secret/);
  }
  assert.equal(bench.target.connections, 0);
});

test("HttpDestination sends the headers of an origin to that origin only, and reads them again when they change", async (t) => {
  const bench = await Bench.start(t);
  const other = await HttpTarget.start();
  t.after(() => other.close());
  const httpHeadersPath = path.join(temporaryDirectory(t), "headers");
  const write = (token: string): void => {
    const text = `# ours\n[${bench.target.origin}]\nAuthorization: Bearer ${token}\n[*]\nX-Site: 7\n`;
    writeFileSync(`${httpHeadersPath}.new`, text, { mode: 0o600 });
    renameSync(`${httpHeadersPath}.new`, httpHeadersPath);
  };
  write("first");
  const environment = { httpHeadersPath };
  await bench.send({ environment });
  await bench.send({ environment, uri: other.origin });
  write("second");
  await bench.send({ environment });
  assert.deepEqual(
    bench.target.requests.map(({ headers }) => [headers.authorization, headers["x-site"]]),
    [
      ["Bearer first", "7"],
      ["Bearer second", "7"],
    ],
  );
  assert.deepEqual(
    other.requests.map(({ headers }) => [headers.authorization, headers["x-site"]]),
    [[undefined, "7"]],
  );

  chmodSync(httpHeadersPath, 0o640);
  const open = await bench.send({ environment });
  assert.ok(open.kind === "failed" && open.pace === "slow" && /mode 640/.test(open.error), inspect(open));
  assert.equal(bench.target.requests.length, 2, "nothing goes without them");
});

const unusable: readonly (readonly [string, RegExp])[] = [
  ["Authorization: secret", /line 1: it stands before/],
  ["[https://x/path]\nA: secret", /line 1: it is no/],
  ["[https://user:secret@x]\n", /line 1: it is no/],
  ["[*]\nsecret", /line 2: it is no `Name: value`/],
  ["[*]\nA B: secret", /line 2/],
  ["[*]\nHost: secret", /line 2: header host is set by the exporter/],
  ["[*]\nContent-Length: 5", /content-length/],
];

test("HttpDestination says which line of the headers is wrong, and not what stands there", async (t) => {
  const bench = await Bench.start(t);
  for (const [text, pattern] of unusable) {
    const httpHeadersPath = path.join(temporaryDirectory(t), "headers");
    writeFileSync(httpHeadersPath, text, { mode: 0o600 });
    const outcome = await bench.send({ environment: { httpHeadersPath } });
    assert.ok(outcome.kind === "failed", inspect(outcome));
    assert.match(outcome.error, pattern);
    assert.doesNotMatch(inspect(outcome), /secret/);
  }
});

test("HttpDestination verifies certificates: of another authority, of another name, and expired ones", async (t) => {
  const failing = async (tls: ReturnType<typeof makeCertificate>, trusted: string): Promise<string> => {
    const target = await HttpTarget.start({ tls });
    t.after(() => target.close());
    const authoritiesPath = path.join(temporaryDirectory(t), "authorities.pem");
    writeFileSync(authoritiesPath, trusted);
    const bench = new Bench(t, target);
    const outcome = await bench.send({ uri: target.origin, environment: { authoritiesPath } });
    assert.equal(target.requests.length, 0);
    assert.ok(outcome.kind === "failed" && outcome.scope === "endpoint", inspect(outcome));
    return outcome.error;
  };
  const good = makeCertificate();
  assert.match(await failing(good, makeCertificate().certificate), /self-signed|certificate/);
  const foreign = makeCertificate({ dnsNames: ["other.example"] });
  assert.match(await failing(foreign, foreign.certificate), /localhost|altname/i);
  const day = 86_400_000;
  const expired = makeCertificate({
    notBefore: new Date(Date.now() - 9 * day),
    notAfter: new Date(Date.now() - day),
  });
  assert.match(await failing(expired, expired.certificate), /expired/i);
});

test("HttpDestination waits, and does not hang, where the answer goes over to another protocol", async (t) => {
  const upgrade = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
  const bench = await Bench.start(t, {
    kind: "custom",
    answer: ({ socket }) => void socket?.write(upgrade),
  });
  for (const format of [ExportFormat.RAW_NOT_BATCHED, ExportFormat.JSON_BATCHED]) {
    const outcome = await bench.send({ format });
    assert.ok(outcome.kind === "failed");
    assert.deepEqual([outcome.scope, outcome.pace], ["endpoint", "backoff"]);
    assert.match(outcome.error, /^127\.0\.0\.1:\d+: answered 101 for another protocol/);
  }
});

test("HttpDestination says how many bytes of bodies went out, and none where nothing did", async (t) => {
  const busy = { kind: "status", status: 429, headers: { "retry-after": "60" } } as const;
  const bench = await Bench.start(t, { kind: "status", status: 204 }, busy);
  const format = ExportFormat.JSON_BATCHED;
  const bytesOf = async (sending: Sending): Promise<number | undefined> => {
    await bench.send(sending);
    return bench.requestBytes;
  };
  const sent = await bytesOf({ format, batch: records });
  assert.equal(sent, bench.target.requests[0]!.body.length);
  assert.equal(await bytesOf({ format, batch: records }), sent, "failed requests are sent too");
  assert.equal(await bytesOf({ format, batch: records }), 0, "nobody asks in a pause");
  assert.equal(bench.target.requests.length, 2);
  assert.equal(await bytesOf({ uri: "http://192.0.2.1/" }), 0);
  const raw = await Bench.start(t, { kind: "status", status: 204 }, { kind: "status", status: 500 });
  await raw.send({ batch: records });
  assert.equal(raw.requestBytes, "onetwo".length, "the third was not tried");
});
