// The Kinesis emulator in a process of its own, on a free port of the loopback address.
import { once } from "node:events";
import { createRequire } from "node:module";
import type { AddressInfo, Server } from "node:net";
import { endWithParent } from "./demo-child.ts";
import type { EmulatorMessage } from "./demo-emulator.ts";

type CreateEmulator = (options: { createStreamMs: number; shardLimit: number }) => Server;

const SHARDS_MAX = 32;

function tell(message: EmulatorMessage): void {
  process.send?.(message);
}

endWithParent();
try {
  const createEmulator = createRequire(import.meta.url)("kinesalite") as CreateEmulator;
  const server = createEmulator({ createStreamMs: 0, shardLimit: SHARDS_MAX }).listen(0, "127.0.0.1");
  await once(server, "listening");
  tell({ type: "listening", port: (server.address() as AddressInfo).port });
} catch (error) {
  tell({ type: "failed", reason: error instanceof Error ? error.message : String(error) });
}
