import assert from "node:assert/strict";
import { appendFileSync, readdirSync, writeFileSync } from "node:fs";
import path from "node:path";
import { inspect } from "node:util";
import { test, type TestContext } from "node:test";
import { MillraceClient } from "../../src/client/millrace-client.ts";
import { makeCertificate } from "../support/certificates.ts";
import { EngineProcess, temporaryDirectory } from "../support/engine-process.ts";
import { RawClient, upgradeRequest } from "../net/port-fixture.ts";

const timeout = 60_000;
const CANARY = "CANARY";

/** Everything that a client and the commands were shown, and the log; secrets in every place where one may stand. */
async function provoke(t: TestContext): Promise<{ shown: string[]; secrets: string[] }> {
  const directory = temporaryDirectory(t);
  const { certificate, key } = makeCertificate();
  const files = { certificate: path.join(directory, "cert.pem"), key: path.join(directory, "key.pem") };
  writeFileSync(files.certificate, certificate);
  writeFileSync(files.key, key, { mode: 0o600 });
  const engine = await EngineProcess.start(t, {
    env: {
      LOG_LEVEL: "TRACE",
      MILLRACE_TLS_CERTIFICATE: files.certificate,
      MILLRACE_TLS_KEY: files.key,
      MILLRACE_SOCKET: path.join(directory, "m.sock"),
    },
  });
  const { port, token } = engine;
  const shown: string[] = [];
  const run = async (...args: string[]): Promise<string> => {
    const { stdout, stderr } = await engine.run(args);
    shown.push(stderr);
    return stdout;
  };
  const named = (await run("tokens", "create", "camera", "--append", "cam-*", "--metrics")).trim();
  shown.push(await run("streams", "create", "mic"));
  const url = `wss://localhost:${port}`;
  let client: MillraceClient | undefined;
  while (client === undefined) {
    client = await MillraceClient.connect({ url, token: named, authorities: certificate }).catch(
      () => undefined,
    );
  }
  t.after(() => client.close());
  for (const work of [client.appendMessage("mic", Buffer.from(CANARY)), client.describeStream("mic")]) {
    shown.push(await work.then(() => assert.fail("it was accepted"), inspectError));
  }
  // Offered as a browser does, in a header that cannot be read, and in a URL.
  for (const [headers, target] of [
    [{ "Sec-WebSocket-Protocol": `millrace.v1, millrace.token.${CANARY}` }, "/v1/ws"],
    [{ Authorization: `Bearer ${CANARY} ${CANARY}` }, "/v1/ws"],
    [{}, `/v1/ws?access_token=${CANARY}`],
  ] as const) {
    const stranger = new RawClient(t, port);
    stranger.write(upgradeRequest(port, headers, target));
    shown.push((await stranger.takeAll()).toString("latin1"));
  }
  const headers = { Authorization: `Bearer ${named}` };
  shown.push(await (await fetch(`http://127.0.0.1:${port}/metrics`, { headers })).text());
  // Files that cannot be used any more, each with a secret in it.
  writeFileSync(files.key, `-----BEGIN PRIVATE KEY-----\n${CANARY}\n-----END PRIVATE KEY-----\n`);
  const store = path.join(engine.storeDirectory, "store");
  writeFileSync(path.join(store, "token"), `${CANARY} ${CANARY}\n`);
  appendFileSync(path.join(store, "tokens", "camera"), CANARY);
  engine.serve.child.kill("SIGHUP");
  // The connection of the token whose file was damaged ends: then all of it was read again.
  await assert.rejects(async () => {
    for (;;) await client.listStreams();
  });
  client.close();
  for (const args of [
    ["tokens", "list"],
    ["store", "verify"],
    ["streams", "list"],
    ["streams", "list", "--url", `http://user:${CANARY}@localhost/`],
    ["streams", "list", "--url", `ws://${CANARY}@[`],
    ["streams", "list", "--url", `ws://localhost/?token=${CANARY}`],
  ]) {
    shown.push(await run(...args));
  }
  for (const wrong of [
    `ws://user:${CANARY}@[`,
    `ws+unix:///${CANARY}?${CANARY}`,
    `ws://u:${CANARY}@localhost:1`,
  ]) {
    shown.push(await MillraceClient.connect({ url: wrong, token: CANARY }).then(() => "", inspectError));
  }
  assert.ok(readdirSync(store).length > 0);
  const { stderr, stdout } = await engine.stop();
  for (const event of ["tls.failed", "token.unreadable", "connection.revoked", "authentication.refused"]) {
    assert.ok(stderr.includes(`"event":"${event}"`), `${event} is told of`);
  }
  shown.push(stderr, stdout);
  const keyBody = key.split("\n")[1]!;
  return { shown, secrets: [CANARY, named, named.slice(4), token!, keyBody, "PRIVATE KEY"] };
}

/** As a program that logs all of an error shows it. */
function inspectError(error: unknown): string {
  return inspect(error, { depth: 10, showHidden: true });
}

test(
  "tokens, keys and what was taken for one are in no log, answer, error or report",
  { timeout },
  async (t) => {
    const { shown, secrets } = await provoke(t);
    for (const text of shown) {
      for (const secret of secrets)
        assert.ok(!text.includes(secret), `${secret} is shown: ${text.slice(0, 2000)}`);
    }
  },
);
