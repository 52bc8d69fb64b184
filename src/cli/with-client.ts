import type { MillraceClient } from "../client/millrace-client.ts";
import type { CommandContext } from "./command-context.ts";
import { findEngine, type EngineFlags } from "./engine-address.ts";

/** Connects, calls `use`, and closes whatever became of it. The client is imported here, so that `--help` does without it. */
export async function withClient(
  { machine }: CommandContext,
  flags: EngineFlags,
  use: (client: MillraceClient) => Promise<void>,
): Promise<void> {
  const { readToken } = await import("../net/token-store.ts");
  const { url, token } = await findEngine(machine, flags, readToken);
  const { MillraceClient } = await import("../client/millrace-client.ts");
  const client = await MillraceClient.connect({ url, ...(token !== undefined && { token }) });
  try {
    await use(client);
  } finally {
    client.close();
  }
}
