import type { Socket } from "node:net";

/** Where the peer of a connection is, for logs. */
export function peerOf(socket: Socket): string {
  const { remoteAddress, remotePort } = socket;
  if (remoteAddress !== undefined) return `${remoteAddress}:${remotePort ?? 0}`;
  return "local";
}

/** Whether it came over the loopback interface. Our own end tells that also of a peer that is gone again. */
export function isLoopbackSocket({ localAddress = "" }: Pick<Socket, "localAddress">): boolean {
  return localAddress === "::1" || /^(::ffff:)?127\./.test(localAddress);
}
