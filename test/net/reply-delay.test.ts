import assert from "node:assert/strict";
import { test } from "node:test";
import { encodeConnect } from "../../src/wire/connect.ts";
import { prefixFrame } from "../../src/wire/frame-decoder.ts";
import { encodeListStreams } from "../../src/wire/list-streams.ts";
import { skipOrFail } from "../support/require-program.ts";
import { delaysAcknowledgements } from "../support/tcp-table.ts";
import { appendReply, openTestPort, RawClient } from "./port-fixture.ts";

/** Half the least time for which Linux puts off an acknowledgement. */
const NOT_DELAYED_MS = 20;

test(
  "a reply does not wait until the client has acknowledged the one before (PROTOCOL 9.1 rule 11)",
  { timeout: 30_000 },
  async (t) => {
    if (process.platform !== "linux") {
      skipOrFail(t, "what a connection delays is read from Linux's table of them");
      return;
    }
    const { port, handler } = await openTestPort(t);
    const client = new RawClient(t, port.port);
    const hello = encodeConnect({
      requestId: "c",
      protocolVersion: "1.1.0",
      otherSupportedProtocolVersions: [],
    });
    client.write(Buffer.concat([Buffer.of(1), prefixFrame(hello)]));
    await client.takeConnectResponse();
    const session = await handler.opened.take();
    const ports = { localPort: client.socket.localPort!, remotePort: port.port };
    // Without TCP_NODELAY no round is quick in which the client's kernel holds back the acknowledgement of the first reply.
    for (let elapsedMs = Infinity; elapsedMs >= NOT_DELAYED_MS;) {
      client.write(prefixFrame(encodeListStreams({ requestId: "r" })));
      await handler.frames.take();
      const startMs = performance.now();
      session.send(appendReply("first"));
      await client.takeFrame();
      const isDelaying = delaysAcknowledgements(ports);
      assert.notEqual(isDelaying, undefined);
      session.send(appendReply("second"));
      await client.takeFrame();
      if (isDelaying === true) elapsedMs = performance.now() - startMs;
    }
  },
);
