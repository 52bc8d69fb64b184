// A bare `ws` server in a process of its own: `echo` sends each message back, `sink` counts them and tells when asked.
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { WebSocketServer } from "ws";

const [behaviour] = process.argv.slice(2);
if (behaviour !== "echo" && behaviour !== "sink") throw new Error(`no yardstick "${behaviour ?? ""}"`);

const server = new WebSocketServer({ host: "127.0.0.1", port: 0, perMessageDeflate: false });
server.on("connection", (webSocket) => {
  let messageCount = 0;
  webSocket.on("message", (data, isBinary) => {
    if (behaviour === "echo") webSocket.send(data as Buffer);
    else if (isBinary) messageCount += 1;
    else webSocket.send(String(messageCount));
  });
});
await once(server, "listening");
const { port, address } = server.address() as AddressInfo;
process.stdout.write(`${JSON.stringify({ event: "ready", host: address, port })}\n`);
process.once("SIGTERM", () => process.exit(0));
