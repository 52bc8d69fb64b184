import { readFileSync } from "node:fs";

/**
 * Whether the kernel holds back acknowledgements for a TCP connection of IPv4: what TCP_QUICKACK ends, until the next answer. The
 * connection is that of the socket whose own port is `localPort`. Undefined when there is none.
 */
export function delaysAcknowledgements(ports: {
  readonly localPort: number;
  readonly remotePort: number;
}): boolean | undefined {
  const hex = (port: number): string => port.toString(16).toUpperCase().padStart(4, "0");
  const line = readFileSync("/proc/net/tcp", "latin1")
    .split("\n")
    .map((text) => text.trim().split(/\s+/))
    .find(
      ([, local, remote]) =>
        local?.endsWith(`:${hex(ports.localPort)}`) === true &&
        remote?.endsWith(`:${hex(ports.remotePort)}`) === true,
    );
  // tcp4_seq_show: the field is (icsk_ack.quick << 1) | whether the connection is in "ping-pong mode".
  const field = line?.[14];
  return field === undefined ? undefined : (Number(field) & 1) === 1;
}
