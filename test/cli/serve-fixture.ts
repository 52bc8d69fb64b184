// `serve` with an engine of the test's choice, in a process of its own, because serve owns signals and the exit code.
import { createServer } from "node:net";
import type { AddressInfo } from "node:net";
import { once } from "node:events";
import { serveCommand, type StartEngine } from "../../src/cli/serve.ts";
import { MillraceError } from "../../src/core/errors.ts";

const [behaviour, ...args] = process.argv.slice(2);

const startEngine: StartEngine = async ({ host, port, storeDirectory }) => {
  if (behaviour === "refuse")
    throw new MillraceError("STORE_LOCKED", `Cannot open the store ${storeDirectory}: in use`);
  const server = createServer().listen(port, host);
  await once(server, "listening");
  if (behaviour === "renewed") {
    // Signals reach their listeners in the order in which these were added: the command's comes first.
    const heard = once(process, "SIGHUP");
    process.kill(process.pid, "SIGHUP");
    await heard;
  }
  return {
    host,
    port: (server.address() as AddressInfo).port,
    storeDirectory,
    reload: () => process.stderr.write("reloading\n"),
    close: async () => {
      process.stderr.write("closing\n");
      if (behaviour === "hang") return new Promise<never>(() => undefined);
      server.close();
      await once(server, "close");
      process.stderr.write("closed\n");
    },
  };
};

const context = {
  machine: { env: process.env, homeDirectory: "/home/edge", cores: 2, memoryBytes: 2 ** 33 },
  stdin: process.stdin,
  stdout: process.stdout,
  stderr: process.stderr,
};
try {
  await serveCommand(context, () => Promise.resolve(startEngine)).parseAsync(args, { from: "user" });
} catch (error) {
  process.stderr.write(`failed: ${String(error)}\n`);
  process.exitCode = 1;
}
