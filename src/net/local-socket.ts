import type { Server } from "node:net";
import { dirname } from "node:path";
import { MillraceError, systemCode } from "../core/errors.ts";
import { EventName } from "../observe/events.ts";
import { type ListeningServer, type ListeningServerOptions, openServer } from "./listening-server.ts";
import {
  findGroup,
  giveToGroup,
  isOwnSocket,
  OWNER_ONLY_UMASK,
  unlinkIfPresent,
  whyReplaceable,
} from "./private-files.ts";
import { isListening } from "./socket-liveness.ts";

/** `sun_path` of a Unix socket holds 108 bytes, the last of them 0. */
const PATH_BYTES_MAX = 107;

export interface LocalSocketOptions extends ListeningServerOptions {
  readonly path: string;
  /** Who may connect beside the engine's own user: a group by its name or number. */
  readonly group: string | undefined;
}

/**
 * A Unix socket. Who may open it is decided by the file system: its mode is 600, or 660 for a group. Node.js cannot ask the kernel
 * who is at the other end, so a client still says who it is by its token, unless that was turned off.
 */
export class LocalSocket implements ListeningServer {
  readonly #options: LocalSocketOptions;
  #server: Server | undefined;

  constructor(options: LocalSocketOptions) {
    this.#options = options;
  }

  async listen(): Promise<void> {
    const { path, group, logger } = this.#options;
    const bytes = Buffer.byteLength(path);
    if (bytes > PATH_BYTES_MAX) {
      throw cannot(path, `the path has ${bytes} bytes, a socket's at most ${PATH_BYTES_MAX}`);
    }
    refuseOpenDirectory(path);
    const groupId = group === undefined ? undefined : groupOf(path, group);
    let server: Server;
    try {
      server = await this.#open();
    } catch (cause) {
      if (systemCode(cause) !== "EADDRINUSE") throw cannot(path, systemCode(cause) ?? String(cause), cause);
      await removeDeadSocket(path);
      server = await this.#open().catch((thrown: unknown) => {
        throw cannot(path, systemCode(thrown) ?? String(thrown), thrown);
      });
    }
    try {
      if (groupId !== undefined) giveToGroup(path, groupId);
    } catch (cause) {
      server.close();
      throw cannot(
        path,
        `it cannot be given to group ${group ?? ""}: ${systemCode(cause) ?? "failed"}`,
        cause,
      );
    }
    this.#server = server;
    logger.info(EventName.PortListening, { path });
  }

  /** Removes the file too. */
  close(): void {
    this.#server?.close();
  }

  #open(): Promise<Server> {
    // The file is there with the call, and must not be open to anybody for even a moment.
    const before = process.umask(OWNER_ONLY_UMASK);
    try {
      return openServer(this.#options, { path: this.#options.path });
    } finally {
      process.umask(before);
    }
  }
}

/**
 * Whoever can put a socket of his own in this one's place is shown the tokens of its clients; with a link there he has the rights of
 * another file changed to those of the group.
 */
function refuseOpenDirectory(path: string): void {
  let reason: string | undefined;
  try {
    reason = whyReplaceable(dirname(path));
  } catch (cause) {
    throw cannot(path, systemCode(cause) ?? String(cause), cause);
  }
  if (reason !== undefined) throw cannot(path, reason);
}

function groupOf(path: string, group: string): number {
  const groupId = findGroup(group);
  if (groupId === undefined) throw cannot(path, `there is no group ${group}`);
  return groupId;
}

/**
 * What an engine that was killed leaves behind: a socket of ours that nobody listens on.
 * @throws {MillraceError} INVALID_SETTING for anything else, which is left as it is
 */
async function removeDeadSocket(path: string): Promise<void> {
  if (!isOwnSocket(path)) throw cannot(path, "something else has that name, or it is another user's");
  // What cannot be told is taken for a process that lives.
  if (await isListening(path).catch(() => true)) throw cannot(path, "another process listens on it");
  unlinkIfPresent(path);
}

function cannot(path: string, reason: string, cause?: unknown): MillraceError {
  return new MillraceError("INVALID_SETTING", `Cannot listen on ${path}: ${reason}`, { cause });
}
