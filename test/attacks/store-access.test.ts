import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { chmodSync, lstatSync, readdirSync } from "node:fs";
import path from "node:path";
import { describe, it, type TestContext } from "node:test";
import { MillraceClient } from "../../src/client/millrace-client.ts";
import { StrategyOnFull } from "../../src/core/stream-definition.ts";
import { StatusCode } from "../../src/core/status-code.ts";
import { CborWriter } from "../../src/wire/cbor-writer.ts";
import { decodeCreateMessageStreamResponse } from "../../src/wire/create-message-stream.ts";
import { Operation } from "../../src/wire/operation.ts";
import { EngineProcess } from "../support/engine-process.ts";
import { openTcpLink } from "../support/frame-link.ts";
import { Inbox } from "../support/inbox.ts";
import { skipOrFail } from "../support/require-program.ts";

const timeout = 60_000;
const GROUP_AND_OTHERS = 0o077;
const NOBODY = 65_534;

/** Names that PROTOCOL 3.2 allows, and that a file system would take for something else, or for one another. */
const legalNames = [
  ".",
  "..",
  "...",
  " ",
  "-",
  "-rf",
  "A",
  "a",
  "con",
  "NUL",
  "nul.txt",
  "lock.sock",
  "token",
  "streams",
  "x".repeat(255),
];
const illegalNames = [
  "",
  "../x",
  "/",
  "a/b",
  "a\\b",
  "/etc/passwd",
  "a\0b",
  "a\nb",
  "a\rb",
  "%2e%2e",
  "a:b",
  "caf\u00e9",
  "\u202egnp",
  "x".repeat(256),
  "x".repeat(300),
];

/** Every file and directory of a store with its mode, by its path in it. */
function entriesOf(directory: string): { name: string; isDirectory: boolean; mode: number }[] {
  return readdirSync(directory, { recursive: true, encoding: "utf8" }).map((name) => {
    const stat = lstatSync(path.join(directory, name));
    return { name, isDirectory: stat.isDirectory(), mode: stat.mode & 0o7777 };
  });
}

async function connect(t: TestContext, { port, token }: EngineProcess): Promise<MillraceClient> {
  const client = await MillraceClient.connect({ url: `ws://127.0.0.1:${port}`, token: token! });
  t.after(() => {
    client.close();
  });
  return client;
}

function createFrame(name: string, identifier = "exporter"): Uint8Array {
  const writer = new CborWriter(Operation.CreateMessageStream).map(2).text("requestId").text("create");
  writer.text("definition").map(3).text("name").text(name).text("strategyOnFull").integer(0);
  writer.text("exportDefinition").map(1).text("kinesis").array(1).map(2);
  return writer.text("identifier").text(identifier).text("kinesisStreamName").text("k").finish();
}

describe("the files of an engine", () => {
  it("have names of its own, whatever streams and exporters are called", { timeout }, async (t) => {
    const engine = await EngineProcess.start(t);
    const client = await connect(t, engine);
    const strategyOnFull = StrategyOnFull.RejectNewData;
    for (const [index, name] of legalNames.entries()) {
      const kinesis = [{ identifier: name, kinesisStreamName: "k", disabled: true }];
      await client.createMessageStream({ name, strategyOnFull, exportDefinition: { kinesis } });
      assert.equal(await client.appendMessage(name, Buffer.from(`message of ${index}`)), 0);
    }
    // Past the client's own checks, as somebody else's client would send it.
    const replies = new Inbox<Buffer>();
    const link = await openTcpLink({
      port: engine.port,
      token: engine.token,
      onFrame: (frame) => {
        replies.put(frame);
      },
    });
    for (const name of illegalNames) {
      for (const frame of [createFrame(name), createFrame("fine", name)]) {
        link.send(frame);
        const { status, errorMessage } = decodeCreateMessageStreamResponse(await replies.take());
        assert.equal(status, StatusCode.InvalidRequest, JSON.stringify(name));
        // A name that is refused must not write to anybody's terminal.
        assert.doesNotMatch(errorMessage, /[\0-\x1f]/, JSON.stringify(name));
      }
    }
    link.destroy();
    assert.deepEqual([...(await client.listStreams())].sort(), [...legalNames].sort());
    for (const [index, name] of legalNames.entries()) {
      const [message] = await client.readMessages(name);
      assert.equal(Buffer.from(message!.payload).toString(), `message of ${index}`);
    }
    const store = path.join(engine.storeDirectory, "store");
    const streams = readdirSync(path.join(store, "streams"));
    assert.equal(streams.length, legalNames.length);
    for (const name of streams) assert.match(name, /^[0-9a-f]{32}$/);
    for (const { name } of entriesOf(store)) assert.match(name, /^[\w./-]{1,120}$/);
    assert.deepEqual(readdirSync(engine.storeDirectory), ["store"]);
    assert.equal((await engine.stop()).code, 0);
  });

  it("are out of reach of another user of the machine", { timeout }, async (t) => {
    if (process.geteuid?.() !== 0) {
      skipOrFail(t, "only root can become another user");
      return;
    }
    const engine = await EngineProcess.start(t);
    // Only the store itself stands in the way.
    chmodSync(engine.storeDirectory, 0o755);
    const store = path.join(engine.storeDirectory, "store");
    const asNobody = (program: string, ...args: string[]): string => {
      const { status, stdout, stderr } = spawnSync(program, args, {
        uid: NOBODY,
        gid: NOBODY,
        encoding: "utf8",
      });
      return status === 0 ? stdout : stderr;
    };
    assert.match(asNobody("ls", engine.storeDirectory), /^store$/m);
    for (const place of ["token", "streams", "lock-1.sock"]) {
      assert.match(asNobody("stat", path.join(store, place)), /Permission denied/, place);
    }
    assert.match(asNobody("cat", path.join(store, "token")), /Permission denied/);
    assert.match(asNobody("ls", store), /Permission denied/);
    assert.equal((await engine.stop()).code, 0);
  });

  it("are for its user alone, sockets too, under the most open mask", { timeout }, async (t) => {
    const before = process.umask(0);
    t.after(() => process.umask(before));
    const engine = await EngineProcess.start(t);
    const client = await connect(t, engine);
    await client.createMessageStream({
      name: "exported",
      strategyOnFull: StrategyOnFull.RejectNewData,
      flushOnWrite: true,
      exportDefinition: { kinesis: [{ identifier: "cloud", kinesisStreamName: "k" }] },
    });
    const producer = await client.producer("exported");
    for (let count = 0; count < 10; count++) await producer.append(Buffer.from(`message ${count}`));
    await producer.close();
    const store = path.join(engine.storeDirectory, "store");
    const check = (): void => {
      assert.equal(lstatSync(store).mode & 0o7777, 0o700);
      const entries = entriesOf(store);
      assert.ok(entries.length > 8, `${entries.length} entries`);
      const open = entries.filter(({ mode }) => (mode & GROUP_AND_OTHERS) !== 0);
      assert.deepEqual(open, []);
      const files = entries.filter(({ name, isDirectory }) => !isDirectory && !name.endsWith(".sock"));
      assert.deepEqual(
        files.filter(({ mode }) => mode !== 0o600),
        [],
      );
    };
    check();
    assert.ok(
      entriesOf(store).some(({ name }) => /^lock-\d+\.sock$/.test(name)),
      "the lock is a socket in the store, and not in /tmp",
    );
    assert.equal((await engine.stop()).code, 0);
    check();
  });
});
