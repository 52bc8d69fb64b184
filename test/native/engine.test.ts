import assert from "node:assert/strict";
import { cpSync, existsSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { describe, it, type TestContext } from "node:test";
import { bindingsPath } from "../../src/native/native-bindings.ts";
import { decodeAppendMessageResponse, encodeAppendMessage } from "../../src/wire/append-message.ts";
import { encodeConnect } from "../../src/wire/connect.ts";
import { prefixFrame } from "../../src/wire/frame-decoder.ts";
import { encodeListStreams } from "../../src/wire/list-streams.ts";
import { EngineProcess } from "../support/engine-process.ts";
import { openTcpLink } from "../support/frame-link.ts";
import { Inbox } from "../support/inbox.ts";
import { builtAddon, installation } from "../support/native-addon.ts";
import { skipOrFail } from "../support/require-program.ts";
import { delaysAcknowledgements } from "../support/tcp-table.ts";

const timeout = 30_000;
const logged = { LOG_LEVEL: "info" };
/** The least time for which Linux puts off an acknowledgement. */
const KERNEL_DELAY_MS = 40;

async function nativeMetric(engine: EngineProcess): Promise<string | undefined> {
  return /^millrace_native_bindings (\d)$/m.exec(await engine.metrics())?.[1];
}

/** What is appended is stored. */
async function expectService(t: TestContext, engine: EngineProcess): Promise<void> {
  assert.equal((await engine.run(["streams", "create", "raw"])).code, 0);
  const replies = new Inbox<Buffer>();
  const link = await openTcpLink({
    port: engine.port,
    token: engine.token,
    onFrame: (frame) => replies.put(frame),
  });
  t.after(() => link.destroy());
  for (const sequenceNumber of [0, 1]) {
    link.send(encodeAppendMessage({ requestId: "append", name: "raw", payload: Buffer.from("x") }));
    const reply = decodeAppendMessageResponse(await replies.take());
    assert.deepEqual([reply.status, reply.sequenceNumber], [0, sequenceNumber]);
  }
}

describe("the native addon", () => {
  it("is where the engine looks for it when the tree was built", (t) => {
    if (!existsSync(bindingsPath()))
      skipOrFail(t, "the native addon is not built: npm run build, with a compiler");
  });

  it("has the engine acknowledge at once what the protocol's clients send", { timeout }, async (t) => {
    const addon = builtAddon(t);
    if (addon === undefined) return;
    const program = installation(t, (addonPath) => cpSync(addon, addonPath));
    const engine = await EngineProcess.start(t, { program, env: logged });
    assert.equal(await nativeMetric(engine), "1");

    const socket = connect({ port: engine.port, host: "127.0.0.1", noDelay: true });
    t.after(() => socket.destroy());
    const answered = async (): Promise<void> =>
      new Promise((resolve) => socket.once("data", () => resolve()));
    const token = engine.token ?? "";
    const hello = encodeConnect({
      requestId: "0",
      protocolVersion: "1.1.0",
      otherSupportedProtocolVersions: [],
      authToken: token,
    });
    socket.write(Buffer.concat([Buffer.of(1), prefixFrame(hello)]));
    await answered();
    const ports = { localPort: engine.port, remotePort: socket.localPort! };
    const request = prefixFrame(encodeListStreams({ requestId: "1" }));
    // Half a request, which cannot be answered: either the engine's read ends the delay, or the kernel's timer does, never earlier
    // than after its 40 ms. On a busy machine one round or another may take that long.
    for (let elapsedMs = KERNEL_DELAY_MS; elapsedMs >= KERNEL_DELAY_MS / 2;) {
      socket.write(request);
      await answered();
      if (delaysAcknowledgements(ports) !== true) continue;
      const startMs = performance.now();
      socket.write(request.subarray(0, 5));
      while (delaysAcknowledgements(ports) === true) await new Promise(setImmediate);
      elapsedMs = performance.now() - startMs;
      socket.write(request.subarray(5));
      await answered();
    }
    socket.destroy();
    const { stderr } = await engine.stop();
    assert.match(stderr, /"event":"native\.loaded"/);
  });

  it("is left alone when a setting turns it off", { timeout }, async (t) => {
    const addon = builtAddon(t);
    if (addon === undefined) return;
    const program = installation(t, (addonPath) => cpSync(addon, addonPath));
    const engine = await EngineProcess.start(t, {
      program,
      env: { ...logged, MILLRACE_NATIVE_BINDINGS: "false" },
    });
    assert.equal(await nativeMetric(engine), "0");
    await expectService(t, engine);
    const { stderr } = await engine.stop();
    assert.match(stderr, /"event":"native\.missing","reason":"it is turned off by a setting"/);
  });

  it("may be missing, or a file that is none, of which the log warns", { timeout }, async (t) => {
    let addonPath = "";
    const program = installation(t, (place) => (addonPath = place));
    const missing = await EngineProcess.start(t, { program, env: logged });
    assert.equal(await nativeMetric(missing), "0");
    await expectService(t, missing);
    assert.match(
      (await missing.stop()).stderr,
      /"level":"INFO".*"event":"native\.missing".*"reason":"it was not built for this machine"/,
    );
    writeFileSync(addonPath, "no addon\n".repeat(100));
    const faulty = await EngineProcess.start(t, { program, env: logged });
    assert.equal(await nativeMetric(faulty), "0");
    await expectService(t, faulty);
    assert.match(
      (await faulty.stop()).stderr,
      /"level":"WARN".*"event":"native\.missing".*"reason":"it cannot be loaded: /,
    );
  });
});
