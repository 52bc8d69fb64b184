import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer, type AddressInfo, type Socket } from "node:net";
import { test, type TestContext } from "node:test";
import { BoundedHttpHandler } from "../../../src/export/destinations/bounded-http-handler.ts";

const BODY_BYTES = 16 * 1024 * 1024;
const PROGRESS_MS_MAX = 1500;

/** A server that reads as it is told, and the request of `BODY_BYTES` that is sent to it. */
async function sendTo(
  t: TestContext,
  read: (socket: Socket) => void,
): ReturnType<BoundedHttpHandler["handle"]> {
  const sockets: Socket[] = [];
  const server = createServer({ pauseOnConnect: true }, (socket) => {
    sockets.push(socket.on("error", () => undefined));
    read(socket);
  });
  await once(server.listen(0, "127.0.0.1"), "listening");
  const handler = new BoundedHttpHandler({ progressMsMax: PROGRESS_MS_MAX });
  t.after(() => {
    handler.destroy();
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  const { port } = server.address() as AddressInfo;
  const request = {
    protocol: "http:",
    hostname: "127.0.0.1",
    port,
    method: "POST",
    path: "/",
    query: {},
    headers: { "content-length": String(BODY_BYTES) },
    body: Buffer.alloc(BODY_BYTES),
  };
  return handler.handle(request as never);
}

/** Reads so many bytes every 100 ms, at most `bytesMax` of them, and answers once all of the body is there. */
function readSlowly(
  socket: Socket,
  { bytesAtOnce, bytesMax }: { bytesAtOnce: number; bytesMax: number },
): void {
  let readBytes = 0;
  let allowedBytes = 0;
  const timer = setInterval(() => {
    allowedBytes = Math.min(bytesMax, allowedBytes + bytesAtOnce);
    if (readBytes < allowedBytes) socket.resume();
  }, 100);
  socket.on("close", () => clearInterval(timer));
  socket.on("data", (chunk: Buffer) => {
    readBytes += chunk.length;
    if (readBytes >= BODY_BYTES) socket.end("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
    else if (readBytes >= allowedBytes) socket.pause();
  });
  socket.pause();
}

test("BoundedHttpHandler lets a request take longer than its time without progress while the other side reads", async (t) => {
  const startMs = performance.now();
  const answer = await sendTo(t, (socket) =>
    readSlowly(socket, { bytesAtOnce: BODY_BYTES / 40, bytesMax: Infinity }),
  );
  assert.equal(answer.response.statusCode, 200);
  assert.ok(performance.now() - startMs > 2 * PROGRESS_MS_MAX);
});

test("BoundedHttpHandler gives up a request when the other side never reads, or reads no more", async (t) => {
  await Promise.all(
    [0, BODY_BYTES / 4].map(async (bytesMax) => {
      const sent = sendTo(t, (socket) => readSlowly(socket, { bytesAtOnce: BODY_BYTES / 8, bytesMax }));
      await assert.rejects(sent, { name: "TimeoutError", message: "no progress for 1.5 s" });
    }),
  );
});

test("BoundedHttpHandler does not wait for an answer that goes over to another protocol, or never comes", async (t) => {
  const upgrade = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
  const upgraded = sendTo(t, (socket) => void socket.write(upgrade));
  await assert.rejects(upgraded, /answered 101 for another protocol/);
  const early = "HTTP/1.1 103 Early Hints\r\n\r\n".repeat(100);
  const hinted = sendTo(t, (socket) => void socket.write(early));
  await assert.rejects(hinted, /more than 64 answers that are none yet/);
});
