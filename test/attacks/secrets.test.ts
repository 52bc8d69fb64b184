import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { describe, it, type TestContext } from "node:test";
import { MillraceClient } from "../../src/client/millrace-client.ts";
import type { MillraceError } from "../../src/core/errors.ts";
import { StrategyOnFull } from "../../src/core/stream-definition.ts";
import { encodeAppendBatch } from "../../src/wire/append-batch-layout.ts";
import { encodeAppendMessage } from "../../src/wire/append-message.ts";
import { encodeConnect } from "../../src/wire/connect.ts";
import { prefixFrame } from "../../src/wire/frame-decoder.ts";
import { EngineProcess, temporaryDirectory } from "../support/engine-process.ts";
import { openTcpLink } from "../support/frame-link.ts";
import { Inbox } from "../support/inbox.ts";
import { RawClient } from "../net/port-fixture.ts";

const timeout = 60_000;
/** In everything that nobody may read again: payloads, tokens, credentials, passwords in URLs. */
const CANARY = "CANARY";
const FORGED_LINE = `{"level":"ERROR","event":"store.opened","forged":true}`;

const connectHello = (authToken: string, sdkVersion: string): Buffer => {
  const hello = encodeConnect({
    requestId: "connect",
    protocolVersion: "1.1.0",
    otherSupportedProtocolVersions: [],
    sdkVersion,
    authToken,
  });
  return Buffer.concat([Buffer.of(1), prefixFrame(hello)]);
};

/** The engine's endpoint for exports: one that cannot be reached, and one that is no URL, each with a password in it. */
const endpoints = [`http://user:${CANARY}-password@127.0.0.1:9/`, `http://user:${CANARY}-password@[`];

async function provoke(
  t: TestContext,
  endpoint: string,
): Promise<{ shown: string[]; logged: string; token: string }> {
  const engine = await EngineProcess.start(t, {
    env: {
      LOG_LEVEL: "TRACE",
      AWS_ENDPOINT_URL_KINESIS: endpoint,
      AWS_REGION: "us-east-1",
      AWS_ACCESS_KEY_ID: `${CANARY}-key-id`,
      AWS_SECRET_ACCESS_KEY: `${CANARY}-secret-key`,
      AWS_SESSION_TOKEN: `${CANARY}-session`,
    },
  });
  const { port, token } = engine;
  const shown: string[] = [];
  const client = await MillraceClient.connect({ url: `ws://127.0.0.1:${port}`, token: token! });
  t.after(() => client.close());
  const kinesis = [{ identifier: "cloud", kinesisStreamName: "k", batchSize: 1 }];
  const strategyOnFull = StrategyOnFull.RejectNewData;
  await client.createMessageStream({
    name: "exported",
    strategyOnFull,
    maxSize: 2048,
    exportDefinition: { kinesis },
  });
  const payload = Buffer.from(`${CANARY}-payload\n${FORGED_LINE}\n`);
  await client.appendMessage("exported", payload);
  // Refusals of all sorts, of requests that carry payloads.
  for (const work of [
    client.appendMessage("missing", payload),
    client.appendMessage("exported", Buffer.alloc(4096, payload)),
    client.readMessages("exported", { minMessageCount: 100, maxMessageCount: 100 }),
  ]) {
    shown.push(
      await work.then(
        () => assert.fail("it was accepted"),
        (thrown: unknown) => (thrown as MillraceError).message,
      ),
    );
  }
  const replies = new Inbox<Buffer>();
  const link = await openTcpLink({
    port,
    token,
    onFrame: (frame) => {
      replies.put(frame);
    },
  });
  const bad = Buffer.from(encodeAppendMessage({ requestId: "bad", name: "exported", payload }));
  for (const frame of [
    bad.subarray(0, bad.length - 5),
    Buffer.concat([bad, payload]),
    Buffer.from(encodeAppendBatch({ handle: 77, requestId: 1, messages: [payload] })),
  ]) {
    link.send(frame);
    shown.push((await replies.take()).toString("latin1"));
  }
  link.destroy();
  // Strangers, with tokens of their own and lines of a log in what they say of themselves.
  for (const hello of [
    connectHello(`${CANARY}-guess`, "1.0"),
    connectHello(token!, `1.0"}\n${FORGED_LINE}\n`),
  ]) {
    const stranger = new RawClient(t, port);
    stranger.write(hello);
    shown.push((await stranger.takeConnectResponse()).toString("latin1"));
    stranger.socket.destroy();
  }
  for (const [target, headers] of [
    [`/metrics?token=${CANARY}-query`, {}],
    ["/metrics", { Authorization: `Bearer ${CANARY}-bearer` }],
    [`/${CANARY}-path`, { Cookie: `${CANARY}-cookie` }],
    ["/metrics", { Authorization: `Bearer ${token!}` }],
    ["/readyz", {}],
  ] as const) {
    shown.push(await (await fetch(`http://127.0.0.1:${port}${target}`, { headers })).text());
  }
  // The exporter has failed by now, or will.
  for (let isTold = false; !isTold;) {
    const { exportStatuses } = await client.describeMessageStream("exported");
    isTold = (exportStatuses[0]?.errorMessage ?? "") !== "";
    if (!isTold) await new Promise((resolve) => setTimeout(resolve, 10));
    else shown.push(JSON.stringify(exportStatuses));
  }
  shown.push(JSON.stringify(await client.describeStream("exported")));
  for (const args of [
    ["streams", "describe", "exported"],
    ["store", "verify"],
  ]) {
    const { stdout, stderr } = await engine.run(args);
    shown.push(stdout, stderr);
  }
  client.close();
  const { code, stderr, stdout } = await engine.stop();
  assert.equal(code, 0);
  shown.push(stdout);
  return { shown, logged: stderr, token: token! };
}

describe("a secret", () => {
  it("is in no log, error, metric or description, whatever is refused and fails", { timeout }, async (t) => {
    const outcomes = await Promise.all(endpoints.map(async (endpoint) => provoke(t, endpoint)));
    for (const { shown, logged, token } of outcomes) {
      assert.ok(logged.split("\n").length > 10, logged);
      for (const text of [...shown, logged]) {
        assert.doesNotMatch(text, new RegExp(CANARY));
        assert.ok(!text.includes(token));
      }
      // Each line of the log is one that the engine wrote.
      for (const line of logged.trimEnd().split("\n")) {
        const entry = JSON.parse(line) as { event: string; forged?: boolean };
        assert.match(entry.event, /^[a-z.-]+$/);
        assert.equal(entry.forged, undefined, line);
      }
      assert.match(logged, /"event":"export\.failed"/);
      assert.match(logged, /"event":"authentication\.refused"/);
    }
  });

  it("is taken from no command line, where every user can read it", async (t) => {
    const store = temporaryDirectory(t);
    const engine = await EngineProcess.start(t, { storeDirectory: store });
    const commands = [["serve"], ["demo"], ["streams", "list"], ["append", "s"], ["read", "s"]];
    const runs = commands.map(async (command) => engine.run([...command, "--token", `${CANARY}-argument`]));
    for (const [index, { code, stderr }] of (await Promise.all(runs)).entries()) {
      assert.equal(code, 2, commands[index]!.join(" "));
      assert.match(stderr, /unknown option '--token'/);
    }
    const commandLine = readFileSync(`/proc/${engine.serve.child.pid!}/cmdline`, "latin1");
    assert.ok(!commandLine.includes(engine.token!));
    const file = path.join(store, "edge.toml");
    writeFileSync(file, `token = "${CANARY}"\n`);
    const { code, stderr } = await engine.run(["serve", "--config", file]);
    assert.equal(code, 1);
    assert.doesNotMatch(stderr, new RegExp(CANARY));
    assert.equal((await engine.stop()).code, 0);
  });
});
