import type { Socket } from "node:net";
import { getSystemErrorName } from "node:util";
import type { NativeBindings } from "./native-bindings.ts";

/**
 * A function that has the kernel acknowledge at once what a TCP connection has received. The official Node.js client writes each
 * request in two parts with Nagle's algorithm on: its kernel sends the second when the first is acknowledged, which ours would put
 * off for 40 ms. The kernel falls back into that with each answer that it sends, so this is called for each read.
 * `onRefused` is told of the first error only: where one socket may not, none may.
 */
export function quickAcknowledgement(
  bindings: Pick<NativeBindings, "acknowledgeNow">,
  onRefused: (errorName: string) => void,
): (socket: Socket) => void {
  let isTold = false;
  return (socket) => {
    const descriptor = descriptorOf(socket);
    if (descriptor === undefined) return;
    const error = bindings.acknowledgeNow(descriptor);
    if (error === 0 || isTold) return;
    isTold = true;
    onRefused(getSystemErrorName(-error));
  };
}

/**
 * The system's number of a socket. Node.js has it on the handle, which it takes off when it closes the socket: so it is asked for
 * each time, as the number of a closed one may be another file's already.
 */
function descriptorOf(socket: Socket): number | undefined {
  const { _handle: handle } = socket as { readonly _handle?: { readonly fd?: unknown } | null };
  const descriptor = handle?.fd;
  return typeof descriptor === "number" && descriptor >= 0 ? descriptor : undefined;
}
