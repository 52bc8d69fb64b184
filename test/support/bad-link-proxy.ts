import { once } from "node:events";
import { connect, createServer, type AddressInfo, type Server, type Socket } from "node:net";
import { setTimeout as after } from "node:timers/promises";
import type { CleanUp } from "./program.ts";

/** How a link is from now on, for pieces that arrive from now on. */
export interface LinkQuality {
  /** From one end to the other. */
  readonly delayMs: number;
  /** In each direction of each connection. */
  readonly bytesPerSecond: number;
}

const PIECE_BYTES_MAX = 16 * 1024;

/** A TCP proxy on a port of its own, with the delay, the rate and the interruptions of a poor link. */
export class BadLinkProxy {
  quality: LinkQuality;
  cutCount = 0;
  /** Of pieces that were passed on towards the target. */
  sentBytes = 0;
  readonly #targetPort: number;
  readonly #server: Server;
  readonly #lines = new Set<readonly [Socket, Socket]>();

  private constructor(server: Server, targetPort: number, quality: LinkQuality) {
    this.#server = server;
    this.#targetPort = targetPort;
    this.quality = quality;
    server.on("connection", (client) => this.#join(client));
  }

  static async start(
    t: CleanUp,
    targetPort: number,
    { delayMs = 0, bytesPerSecond = Infinity }: Partial<LinkQuality> = {},
  ): Promise<BadLinkProxy> {
    const server = createServer({ noDelay: true });
    const proxy = new BadLinkProxy(server, targetPort, { delayMs, bytesPerSecond });
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    t.after(() => proxy.close());
    return proxy;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  /** Cuts every connection that there is; what is on its way is lost. */
  cut(): void {
    for (const line of this.#lines) {
      this.cutCount += 1;
      this.#end(line);
    }
  }

  close(): void {
    this.#server.close();
    this.cut();
  }

  #join(client: Socket): void {
    const target = connect({ host: "127.0.0.1", port: this.#targetPort, noDelay: true });
    const line = [client, target] as const;
    this.#lines.add(line);
    for (const socket of line) {
      // Each end of a broken connection reports it; the other is ended with it.
      socket.on("error", () => undefined);
      socket.on("close", () => this.#end(line));
    }
    void this.#carry(client, target, (bytes) => (this.sentBytes += bytes));
    void this.#carry(target, client, () => undefined);
  }

  async #carry(source: Socket, sink: Socket, onPassed: (bytes: number) => void): Promise<void> {
    try {
      for await (const chunk of source as AsyncIterable<Buffer>) {
        for (let at = 0; at < chunk.length; at += PIECE_BYTES_MAX) {
          const piece = chunk.subarray(at, at + PIECE_BYTES_MAX);
          const { delayMs, bytesPerSecond } = this.quality;
          if (Number.isFinite(bytesPerSecond)) await after((piece.length / bytesPerSecond) * 1000);
          setTimeout(() => {
            if (sink.destroyed) return;
            onPassed(piece.length);
            sink.write(piece);
          }, delayMs);
        }
      }
    } catch {
      // It was cut.
    }
  }

  #end(line: readonly [Socket, Socket]): void {
    if (!this.#lines.delete(line)) return;
    for (const socket of line) socket.destroy();
  }
}
