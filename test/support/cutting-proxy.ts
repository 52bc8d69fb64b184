import { once } from "node:events";
import { connect, createServer, type AddressInfo, type Server, type Socket } from "node:net";
import type { CleanUp } from "./program.ts";

/**
 * How a connection ends: `both` sides at once; `answers` are held back first, so that the peer has done what nobody hears of; `late`: the
 * client sees its end, and what it had sent reaches the peer after it has come back over another connection.
 */
export type Cut = "both" | "answers" | "late";

const HELD_MS = 30;

interface Line {
  readonly client: Socket;
  readonly peer: Socket;
}

/** A TCP proxy on a port of its own that cuts its connections when it is told to. */
export class CuttingProxy {
  /** Where new connections go; may change. */
  targetPort: number;
  readonly #server: Server;
  readonly #lines = new Set<Line>();
  cutCount = 0;

  private constructor(server: Server, targetPort: number) {
    this.#server = server;
    this.targetPort = targetPort;
    server.on("connection", (client) => this.#join(client));
  }

  static async start(t: CleanUp, targetPort: number): Promise<CuttingProxy> {
    const server = createServer({ noDelay: true });
    const proxy = new CuttingProxy(server, targetPort);
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    t.after(() => proxy.close());
    return proxy;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  /** Cuts every connection that there is. */
  cut(how: Cut): void {
    for (const line of this.#lines) {
      this.#lines.delete(line);
      this.cutCount += 1;
      cutLine(line, how);
    }
  }

  close(): void {
    this.#server.close();
    this.cut("both");
  }

  #join(client: Socket): void {
    const peer = connect({ host: "127.0.0.1", port: this.targetPort, noDelay: true });
    const line = { client, peer };
    this.#lines.add(line);
    client.pipe(peer);
    peer.pipe(client);
    for (const socket of [client, peer]) {
      // Each end of a broken connection reports it; the other side is ended below.
      socket.on("error", () => undefined);
      socket.on("close", () => {
        if (this.#lines.delete(line)) cutLine(line, "both");
      });
    }
  }
}

function cutLine({ client, peer }: Line, how: Cut): void {
  peer.unpipe(client);
  peer.resume();
  if (how === "both") {
    client.destroy();
    peer.destroy();
  } else if (how === "answers") {
    setTimeout(() => cutLine({ client, peer }, "both"), HELD_MS);
  } else {
    const held: Buffer[] = [];
    client.unpipe(peer);
    // What the client sends while it does not know yet.
    client.on("data", (data: Buffer) => void held.push(data));
    setTimeout(() => {
      client.destroy();
      setTimeout(() => {
        for (const data of held) peer.write(data);
        peer.end();
      }, HELD_MS * 5);
    }, HELD_MS);
  }
}
