import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { MillraceClient } from "../../src/client/millrace-client.ts";
import { MillraceError } from "../../src/core/errors.ts";
import { EngineProcess, temporaryDirectory } from "../support/engine-process.ts";

const timeout = 60_000;

test(
  "tokens: a token made beside a running engine does what it may, until it is revoked",
  { timeout },
  async (t) => {
    const engine = await EngineProcess.start(t);
    const url = `ws://127.0.0.1:${engine.port}`;
    await engine.run(["streams", "create", "cam-1"]);
    await engine.run(["streams", "create", "mic"]);
    const made = await engine.run(["tokens", "create", "camera", "--append", "cam-*"]);
    assert.equal(made.code, 0);
    assert.match(made.stdout, /^mlr_[A-Za-z0-9_-]{43}\n$/);
    assert.match(made.stderr, /it is not shown again/);
    const token = made.stdout.trim();

    // The engine sees the file within moments.
    let client: MillraceClient | undefined;
    while (client === undefined) client = await MillraceClient.connect({ url, token }).catch(() => undefined);
    t.after(() => client.close());
    assert.deepEqual(await client.listStreams(), ["cam-1"]);
    assert.equal(await client.appendMessage("cam-1", Buffer.from("a")), 0);
    const producer = await client.producer("cam-1");
    assert.equal(await producer.appendAwaited("b"), 1);
    const isForbidden = (error: unknown): boolean =>
      error instanceof MillraceError &&
      error.code === "UNAUTHORIZED" &&
      /^Token "camera" (may not|has no right)/.test(error.message);
    await assert.rejects(client.readMessages("cam-1"), isForbidden);
    await assert.rejects(client.appendMessage("mic", Buffer.from("a")), isForbidden);
    await assert.rejects(client.producer("mic"), isForbidden);
    await assert.rejects(client.deleteMessageStream("cam-1"), isForbidden);
    await assert.rejects(client.createMessageStream({ name: "cam-2", strategyOnFull: 0 }), isForbidden);
    const metrics = await fetch(`http://127.0.0.1:${engine.port}/metrics`, {
      headers: { Authorization: `Bearer ${token}` },
    });
    assert.equal(metrics.status, 403);

    const list = await engine.run(["tokens", "list"]);
    assert.match(
      list.stdout,
      /^name +created +append +read +manage +metrics\ncamera +\S+Z +cam-\* +- +- +-\n$/,
    );
    assert.ok(!list.stdout.includes(token));

    const revoked = await engine.run(["tokens", "revoke", "camera"]);
    assert.deepEqual([revoked.code, revoked.stdout, revoked.stderr], [0, "revoked camera\n", ""]);
    // The open connection ends, the next one is refused, and so the client has done.
    await assert.rejects(async () => {
      for (;;) await client.appendMessage("cam-1", Buffer.from("c"));
    });
    await assert.rejects(
      async () => {
        for (;;) await client.listStreams().catch(rethrowUnlessClosed);
      },
      (error) => error instanceof MillraceError && error.code === "UNAUTHORIZED",
    );
    const { stdout } = await engine.run(["tokens", "list"]);
    assert.equal(stdout, "no tokens beside the owner's\n");
  },
);

function rethrowUnlessClosed(error: unknown): void {
  if (!(error instanceof MillraceError) || error.code !== "CONNECTION_CLOSED") throw error;
}

test("tokens: SIGHUP makes a running engine take the owner's new token", { timeout }, async (t) => {
  const engine = await EngineProcess.start(t);
  const url = `ws://127.0.0.1:${engine.port}`;
  const file = path.join(engine.storeDirectory, "store", "token");
  const before = readFileSync(file, "utf8").trim();
  writeFileSync(file, `${"N".repeat(43)}\n`);
  const isRefused = async (token: string): Promise<boolean> => {
    try {
      (await MillraceClient.connect({ url, token })).close();
      return false;
    } catch {
      return true;
    }
  };
  assert.equal(await isRefused(before), false);
  engine.serve.child.kill("SIGHUP");
  while (!(await isRefused(before)));
  assert.equal(await isRefused("N".repeat(43)), false);
  assert.equal((await engine.run(["streams", "list"])).code, 0);
  assert.equal((await engine.stop()).code, 0);
});

test(
  "tokens: commands refuse what makes no sense, and tell of files that cannot be trusted",
  { timeout },
  async (t) => {
    const engine = await EngineProcess.start(t);
    const outcome = async (...args: string[]) => {
      const { code, stderr } = await engine.run(["tokens", ...args]);
      return `${String(code)} ${stderr.trim()}`;
    };
    assert.match(await outcome("create", "idle"), /^2 .*may do nothing/);
    assert.match(await outcome("create", "none", "--read", "none"), /^0 /);
    assert.equal((await outcome("revoke", "none")).split(" ", 1)[0], "0");
    assert.match(await outcome("create", "../x", "--read", "*"), /^1 .*is no name for a token/);
    assert.match(await outcome("create", "odd", "--read", "a/b"), /^1 .*Cannot allow to read "a\/b"/);
    assert.match(await outcome("revoke", "nobody"), /^1 .*there is none of that name/);
    const json = await engine.run([
      "tokens",
      "create",
      "two",
      "--read",
      "a",
      "--read",
      "b*",
      "--metrics",
      "--json",
    ]);
    const { token, ...said } = JSON.parse(json.stdout) as { token: string };
    assert.match(token, /^mlr_/);
    assert.deepEqual(said, { name: "two", append: [], read: ["a", "b*"], manage: [], metrics: true });
    assert.match(await outcome("create", "two", "--read", "*"), /^1 .*there is one of that name/);
    writeFileSync(path.join(engine.storeDirectory, "store", "tokens", "two"), "torn");
    const list = await engine.run(["tokens", "list", "--json"]);
    assert.match(list.stderr, /two: it is incomplete or was changed: it lets nobody in/);
    assert.equal(list.code, 1);
    assert.deepEqual((JSON.parse(list.stdout) as { tokens: unknown[] }).tokens, []);
    assert.match(await outcome("revoke", "two"), /^0 $/);
  },
);

test("a client and the commands go by the Unix socket, with the owner's token", { timeout }, async (t) => {
  const socket = path.join(temporaryDirectory(t), "millrace.sock");
  const engine = await EngineProcess.start(t, { env: { MILLRACE_SOCKET: socket } });
  const url = `ws+unix://${socket}`;
  const created = await engine.run(["streams", "create", "s", "--url", url]);
  assert.deepEqual([created.code, created.stderr], [0, ""]);
  const { token } = engine;
  assert.ok(token !== undefined);
  const client = await MillraceClient.connect({ url, token });
  t.after(() => client.close());
  assert.equal(await client.appendMessage("s", Buffer.from("a")), 0);
  client.close();
  await assert.rejects(MillraceClient.connect({ url }), /a token is needed/);
  await assert.rejects(
    MillraceClient.connect({ url: `${url}?x`, token }),
    /wants the absolute path of a socket/,
  );
  const nobody = MillraceClient.connect({ url: `${url}.none`, token });
  await assert.rejects(nobody, /Cannot connect to \/.*millrace\.sock\.none: .*ENOENT/);
});

test(
  "serve refuses a network without tokens unless a second setting insists, and warns",
  { timeout },
  async (t) => {
    const storeDirectory = temporaryDirectory(t);
    const open = { STREAM_MANAGER_AUTHENTICATE_CLIENT: "false", MILLRACE_HOST: "0.0.0.0" };
    const refused = await EngineProcess.spawn(t, { storeDirectory, env: open }).finished();
    assert.equal(refused.code, 1);
    assert.match(
      refused.stderr,
      /must be a loopback address .* unless MILLRACE_UNAUTHENTICATED_NETWORK is true/,
    );
    const env = { ...open, MILLRACE_UNAUTHENTICATED_NETWORK: "true" };
    const engine = await EngineProcess.start(t, { storeDirectory, env });
    const client = await MillraceClient.connect({ url: `ws://127.0.0.1:${engine.port}` });
    t.after(() => client.close());
    assert.deepEqual(await client.listStreams(), []);
    client.close();
    const { stderr } = await engine.stop();
    assert.match(stderr, /"level":"WARN".*"event":"authentication.off"/);
    assert.match(stderr, /"level":"WARN".*"event":"tls.missing"/);
  },
);
