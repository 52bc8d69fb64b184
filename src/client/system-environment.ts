import { MillraceError, textOf } from "../core/errors.ts";
import type { Environment, SocketListener, SocketOptions } from "./environment.ts";

const FRACTION_STEPS = 2 ** 32;
/** An integer has 53 bits. */
const HIGH_STEPS = 2 ** 21;

function isNode(): boolean {
  const host = globalThis as { process?: { versions?: { node?: string } } };
  return host.process?.versions?.node !== undefined;
}

/**
 * The real sockets and timers, in Node.js and in browsers. In Node.js always the `ws` package: the global WebSocket of later
 * versions sets no masking key. Each side is imported only where it runs.
 */
export const systemEnvironment: Environment = {
  async openSocket(options: SocketOptions, listener: SocketListener) {
    if (isNode()) return (await import("./node-socket.ts")).openNodeSocket(options, listener);
    return (await import("./browser-socket.ts")).openBrowserSocket(options, listener);
  },
  async loadLz4() {
    if (!isNode()) throw noLz4("a browser has none; compress in Node.js, or leave compression out");
    try {
      return (await import("./node-lz4.ts")).nodeLz4;
    } catch (cause) {
      throw noLz4(textOf(cause), cause);
    }
  },
  after(delayMs, callback) {
    const timer = setTimeout(callback, delayMs);
    return () => clearTimeout(timer);
  },
  fraction: () => crypto.getRandomValues(new Uint32Array(1))[0]! / FRACTION_STEPS,
  uniqueId() {
    const [low, high] = crypto.getRandomValues(new Uint32Array(2));
    return Math.max(1, (high! % HIGH_STEPS) * FRACTION_STEPS + low!);
  },
};

function noLz4(why: string, cause?: unknown): MillraceError {
  return new MillraceError("INVALID_SETTING", `Cannot make producer with compression "lz4": ${why}`, {
    cause,
  });
}
