import { createServer, type ListenOptions, type Server, type Socket } from "node:net";
import { EventName } from "../observe/events.ts";
import type { Logger } from "../observe/logger.ts";

/** Somewhere that connections come in: left, and taken again. */
export interface ListeningServer {
  /** @throws {MillraceError} INVALID_SETTING when it cannot be listened on */
  listen(): Promise<void>;
  /** Nobody new comes in; connections stay. */
  close(): void;
}

export interface ListeningServerOptions {
  readonly connectionsMax: number;
  readonly logger: Logger;
  readonly onSocket: (socket: Socket) => void;
  /** A connection over the limit was closed. */
  readonly onFull: () => void;
}

/** Listens. @throws the system's error */
export async function openServer(options: ListeningServerOptions, where: ListenOptions): Promise<Server> {
  const { connectionsMax, logger, onSocket, onFull } = options;
  // Half-open sockets are allowed, because a client that has said its last still waits for replies.
  const server = createServer({ allowHalfOpen: true, noDelay: true }, onSocket);
  server.maxConnections = connectionsMax;
  server.on("drop", onFull);
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(where, resolve);
  });
  server.removeAllListeners("error");
  // From here on an error is a failed accept: out of descriptors, most likely. The next one may succeed.
  server.on("error", (error) => {
    logger.warn(EventName.ConnectionFailed, {}, error);
  });
  return server;
}
