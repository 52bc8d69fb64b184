import { readFileSync } from "node:fs";
import type { MillraceClient } from "../client/millrace-client.ts";
import { MillraceError, systemCode } from "../core/errors.ts";
import type { CommandContext } from "./command-context.ts";
import { findEngine, type EngineFlags } from "./engine-address.ts";

function readAuthorities(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (cause) {
    const text = `Cannot read the authorities ${path}: ${systemCode(cause) ?? "failed"}`;
    throw new MillraceError("INVALID_SETTING", text, { cause });
  }
}

/** Connects, calls `use`, and closes whatever became of it. The client is imported here, so that `--help` does without it. */
export async function withClient(
  { machine }: CommandContext,
  flags: EngineFlags,
  use: (client: MillraceClient) => Promise<void>,
): Promise<void> {
  const { readToken } = await import("../net/token-store.ts");
  const { url, token, authoritiesPath } = await findEngine(machine, flags, readToken);
  const authorities = authoritiesPath === undefined ? undefined : readAuthorities(authoritiesPath);
  const { MillraceClient } = await import("../client/millrace-client.ts");
  const client = await MillraceClient.connect({
    url,
    ...(token !== undefined && { token }),
    ...(authorities !== undefined && { authorities }),
  });
  try {
    await use(client);
  } finally {
    client.close();
  }
}
