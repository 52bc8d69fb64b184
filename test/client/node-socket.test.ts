import assert from "node:assert/strict";
import { once } from "node:events";
import { type AddressInfo, createServer } from "node:net";
import { describe, it, type TestContext } from "node:test";
import { openNodeSocket } from "../../src/client/node-socket.ts";

const listener = { onFrame: () => undefined, onClose: () => undefined };

/** Answers whatever comes with this text, and leaves the connection open. */
async function serve(t: TestContext, answer: string): Promise<string> {
  const server = createServer((socket) => {
    socket.on("error", () => undefined);
    socket.once("data", () => socket.write(answer));
    t.after(() => socket.destroy());
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  t.after(() => server.close());
  return `ws://127.0.0.1:${(server.address() as AddressInfo).port}/v1/ws`;
}

describe("openNodeSocket", () => {
  const cases = [
    [400, "UNSUPPORTED_PROTOCOL", "subprotocol"],
    [403, "UNAUTHORIZED", "host"],
    [404, "UNSUPPORTED_PROTOCOL", "not found"],
    [503, "CONNECT_FAILED", "not-ready"],
  ] as const;
  for (const [status, code, reason] of cases) {
    it(`tells what a refusal with status ${status} says, and whether to try again`, async (t) => {
      const body = `${reason}\n`;
      const url = await serve(t, `HTTP/1.1 ${status} No\r\nContent-Length: ${body.length}\r\n\r\n${body}`);
      await assert.rejects(openNodeSocket({ url, token: undefined, timeoutMs: 60_000 }, listener), {
        code,
        message: `Cannot connect to ${new URL(url).host}: HTTP status ${status} (${reason})`,
      });
    });
  }

  it("shows of a refusal one line of bounded length that a terminal does not obey", async (t) => {
    const body = `\u001b[2J${"x".repeat(5000)}\nmore`;
    const url = await serve(t, `HTTP/1.1 403 No\r\nContent-Length: ${body.length}\r\n\r\n${body}`);
    const shown = `?[2J${"x".repeat(196)}`;
    await assert.rejects(openNodeSocket({ url, token: undefined, timeoutMs: 60_000 }, listener), {
      message: `Cannot connect to ${new URL(url).host}: HTTP status 403 (${shown})`,
    });
  });

  it("does not wait for a text that never comes", async (t) => {
    const url = await serve(t, "HTTP/1.1 400 No\r\nContent-Length: 5\r\n\r\n");
    await assert.rejects(openNodeSocket({ url, token: undefined, timeoutMs: 50 }, listener), {
      code: /UNSUPPORTED_PROTOCOL|CONNECT_FAILED/,
    });
  });
});
