import assert from "node:assert/strict";
import { once } from "node:events";
import { connect, createServer, type AddressInfo, type Socket } from "node:net";
import { test } from "node:test";
import { readSendQueues } from "../../../src/export/destinations/kernel-send-queue.ts";

test("readSendQueues shows what the other side has not taken, and that it falls as it does", async (t) => {
  const accepted: Socket[] = [];
  const server = createServer({ pauseOnConnect: true }, (socket) => accepted.push(socket));
  await once(server.listen(0, "127.0.0.1"), "listening");
  const client = connect((server.address() as AddressInfo).port, "127.0.0.1");
  t.after(() => {
    client.destroy();
    for (const socket of accepted) socket.destroy();
    server.close();
  });
  await once(client, "connect");
  assert.equal(readSendQueues()(client), 0);
  client.write(Buffer.alloc(32 * 1024 * 1024));
  const until = async (isMet: (queue: number) => boolean): Promise<void> => {
    for (let tries = 0; !isMet(readSendQueues()(client) ?? -1); tries += 1) {
      assert.ok(tries < 1000, `${readSendQueues()(client)} bytes in the queue`);
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  };
  await until((queue) => queue > 0);
  // All of it is in the socket of Node.js or in the kernel, and bytesWritten says that it is written.
  assert.ok(client.bytesWritten >= 32 * 1024 * 1024);
  accepted[0]?.resume();
  await until((queue) => queue === 0);
  const unconnected = { localPort: undefined, remotePort: undefined } as unknown as Socket;
  assert.equal(readSendQueues()(unconnected), undefined);
});
