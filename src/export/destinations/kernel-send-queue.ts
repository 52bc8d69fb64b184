import { readFileSync } from "node:fs";
import type { Socket } from "node:net";

/** Bytes that the kernel took and the other side has not acknowledged; undefined where the system does not tell. */
export type SendQueues = (socket: Socket) => number | undefined;

const TABLES = ["/proc/net/tcp", "/proc/net/tcp6"];

/**
 * The send queues of this machine's TCP connections as they are now: Linux shows them to everybody. What a socket of Node.js
 * tells does not suffice, for the kernel takes megabytes at once and lets go of them only as the other side acknowledges.
 */
export function readSendQueues(): SendQueues {
  const byPorts = new Map<string, number>();
  for (const table of TABLES) {
    for (const line of readTable(table).split("\n").slice(1)) {
      const [, local, remote, , queues] = line.trim().split(/\s+/);
      if (local === undefined || remote === undefined || queues === undefined) continue;
      byPorts.set(`${portOf(local)} ${portOf(remote)}`, Number.parseInt(queues, 16));
    }
  }
  return ({ localPort, remotePort }) => byPorts.get(`${localPort} ${remotePort}`);
}

/** Of `0100007F:1F98`. */
function portOf(address: string): number {
  return Number.parseInt(address.slice(address.lastIndexOf(":") + 1), 16);
}

function readTable(path: string): string {
  try {
    return readFileSync(path, "latin1");
  } catch {
    // Another system, or no IPv6: what is not told is undefined.
    return "";
  }
}
