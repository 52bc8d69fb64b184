import assert from "node:assert/strict";
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { test, type TestContext } from "node:test";
import type { AccessPatterns } from "../../src/core/access-rights.ts";
import { systemClock } from "../../src/core/clock.ts";
import { systemRandom } from "../../src/core/random.ts";
import { systemTimers } from "../../src/core/timers.ts";
import {
  createNamedToken,
  namedTokensPath,
  readNamedTokens,
  revokeNamedToken,
} from "../../src/net/named-tokens.ts";
import { TokenKeeper } from "../../src/net/token-keeper.ts";
import { readToken, tokenPath } from "../../src/net/token-store.ts";
import { createLogger, type Logger, silentLogger } from "../../src/observe/logger.ts";
import { decodeConnectResponse, encodeConnect } from "../../src/wire/connect.ts";
import { prefixFrame } from "../../src/wire/frame-decoder.ts";
import { closeCode, openTestPort, RawClient, upgradeRequest } from "./port-fixture.ts";

const timeout = 10_000;
const producer: AccessPatterns = { append: ["*"], read: [], manage: [], metrics: false };

function makeStore(t: TestContext): string {
  const directory = mkdtempSync(path.join(tmpdir(), "millrace-keeper-"));
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

function keep(t: TestContext, storeDirectory: string, logger: Logger = silentLogger): TokenKeeper {
  const platform = { random: systemRandom, clock: systemClock, timers: systemTimers };
  const keeper = new TokenKeeper({ storeDirectory, logger, ...platform });
  t.after(() => keeper.close());
  return keeper;
}

function create(storeDirectory: string, name: string): string {
  const platform = { random: systemRandom, clock: systemClock };
  return createNamedToken({ storeDirectory, name, patterns: producer, ...platform });
}

const nextTurn = () => new Promise((resolve) => setTimeout(resolve, 2));

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await nextTurn();
}

test("TokenKeeper lets in who was made while it runs, and out who was revoked", { timeout }, async (t) => {
  const store = makeStore(t);
  const early = create(store, "early");
  const { authenticator } = keep(t, store);
  assert.equal(authenticator.authenticate(early).isAccepted, true);
  const token = create(store, "camera");
  await until(() => authenticator.authenticate(token).isAccepted);
  revokeNamedToken(store, "camera");
  await until(() => !authenticator.authenticate(token).isAccepted);
  assert.equal(authenticator.authenticate(early).isAccepted, true);
});

test(
  "TokenKeeper takes a directory that was removed for no tokens, and sees a new one",
  { timeout },
  async (t) => {
    const store = makeStore(t);
    const token = create(store, "camera");
    const keeper = keep(t, store);
    rmSync(namedTokensPath(store), { recursive: true });
    await until(() => !keeper.authenticator.authenticate(token).isAccepted);
    const another = create(store, "camera");
    keeper.reload();
    await until(() => keeper.authenticator.authenticate(another).isAccepted);
    assert.equal(keeper.authenticator.authenticate(readToken(store)).isAccepted, true);
  },
);

test(
  "TokenKeeper lets nobody in by a file that it cannot trust, and everybody else as before",
  { timeout },
  (t) => {
    const store = makeStore(t);
    const [bad, good] = [create(store, "bad"), create(store, "good")];
    const file = path.join(namedTokensPath(store), "bad");
    const lines: string[] = [];
    const logger = createLogger({
      level: "ERROR",
      destination: { write: (line: string) => lines.push(line) },
    });
    writeFileSync(file, readFileSync(file, "utf8").slice(0, -9));
    const keeper = keep(t, store, logger);
    const { authenticator } = keeper;
    assert.equal(authenticator.authenticate(bad).isAccepted, false);
    assert.equal(authenticator.authenticate(good).isAccepted, true);
    assert.equal(authenticator.authenticate(readToken(store)).isAccepted, true);
    assert.match(lines.join(""), /"event":"token.unreadable","reason":"[^"]*bad: it is incomplete/);
    assert.deepEqual(
      [...keeper.samples()].map(({ value }) => value),
      [1, 1],
    );
    chmodSync(namedTokensPath(store), 0o777);
    keeper.reload();
    assert.equal(
      authenticator.authenticate(readToken(store)).isAccepted,
      true,
      "the owner is not locked out",
    );
  },
);

test(
  "TokenKeeper reads the owner's token again, and keeps it where the file cannot be trusted",
  { timeout },
  (t) => {
    const store = makeStore(t);
    const keeper = keep(t, store);
    const { authenticator } = keeper;
    const first = readToken(store)!;
    chmodSync(tokenPath(store), 0o644);
    keeper.reload();
    assert.equal(authenticator.authenticate(first).isAccepted, true);
    chmodSync(tokenPath(store), 0o600);
    writeFileSync(tokenPath(store), `${"N".repeat(43)}\n`);
    keeper.reload();
    assert.equal(authenticator.authenticate(first).isAccepted, false);
    assert.equal(authenticator.authenticate("N".repeat(43)).isAccepted, true);
    rmSync(tokenPath(store));
    keeper.reload();
    assert.equal(authenticator.authenticate("N".repeat(43)).isAccepted, false);
    assert.equal(authenticator.authenticate(readToken(store)).isAccepted, true);
  },
);

test(
  "TokenKeeper keeps a known token whose file the system would not read for now, and no other",
  { timeout },
  (t) => {
    const store = makeStore(t);
    const names = ["busy", "linked", "whole"];
    const tokens = names.map((name) => create(store, name));
    let failing = new Map<string, string>();
    const keeper = new TokenKeeper({
      storeDirectory: store,
      ...{ random: systemRandom, clock: systemClock, timers: systemTimers, logger: silentLogger },
      readTokens: (storeDirectory) => {
        const found = readNamedTokens(storeDirectory);
        const unreadable = [...failing].map(([name, systemCode]) => ({
          name,
          path: name,
          reason: "",
          systemCode,
        }));
        return { tokens: found.tokens.filter(({ name }) => !failing.has(name)), unreadable };
      },
    });
    t.after(() => keeper.close());
    const accepted = (): boolean[] =>
      tokens.map((token) => keeper.authenticator.authenticate(token).isAccepted);
    assert.deepEqual(accepted(), [true, true, true]);
    failing = new Map([
      ["busy", "EMFILE"],
      ["linked", "ELOOP"],
    ]);
    keeper.reload();
    assert.deepEqual(accepted(), [true, false, true]);
    // What was not known before is not let in by a failure.
    failing = new Map([["linked", "EIO"]]);
    keeper.reload();
    assert.deepEqual(accepted(), [true, false, true]);
    failing = new Map();
    keeper.reload();
    assert.deepEqual(accepted(), [true, true, true]);
  },
);

test("a revoked token ends the connections that it opened, and no others", { timeout }, async (t) => {
  const store = makeStore(t);
  const [stays, goes] = [create(store, "stays"), create(store, "goes")];
  const { authenticator } = keep(t, store);
  const { port, handler } = await openTestPort(t, { authenticator });
  const overTcp = async (authToken: string): Promise<RawClient> => {
    const client = new RawClient(t, port.port);
    const connect = encodeConnect({
      requestId: "c",
      protocolVersion: "1.1.0",
      otherSupportedProtocolVersions: [],
      authToken,
    });
    client.write(Buffer.concat([Buffer.of(1), prefixFrame(connect)]));
    assert.equal(decodeConnectResponse(await client.takeConnectResponse()).status, 0);
    await handler.opened.take();
    return client;
  };
  const overWebSocket = async (token: string): Promise<RawClient> => {
    const client = new RawClient(t, port.port);
    client.write(upgradeRequest(port.port, { Authorization: `Bearer ${token}` }));
    await handler.opened.take();
    while (!client.received.includes("\r\n\r\n")) await nextTurn();
    await client.take(client.received.indexOf("\r\n\r\n") + 4);
    return client;
  };
  const clients = {
    staysTcp: await overTcp(stays),
    staysWs: await overWebSocket(stays),
    goesTcp: await overTcp(goes),
    goesWs: await overWebSocket(goes),
  };
  revokeNamedToken(store, "goes");
  assert.equal(await clients.goesTcp.ending, "end");
  assert.equal(closeCode(await clients.goesWs.takeAll()), 1008);
  const gone = [await handler.closed.take(), await handler.closed.take()];
  assert.deepEqual(
    gone.map(({ principal }) => principal.name),
    ["goes", "goes"],
  );
  assert.equal(port.counters.refusals("revoked"), 2);
  // What a revoked client sends before it sees the end is not taken.
  assert.equal(handler.frames.size, 0);
  assert.equal(handler.closed.size, 0);
  clients.staysTcp.write(prefixFrame(Buffer.of(4, 0xa0)));
  assert.equal((await handler.frames.take()).session.principal.name, "stays");
});
