/**
 * What a connection of an official client is in:
 *
 * - `waiting`: the engine still recovers; nothing is read
 * - `handshake`: for the Connect frame
 * - `refusing`: a refusal waits for its delay
 * - `open`
 * - `draining`: no more requests; it ends when the last reply has gone
 * - `finished`: our side is ended, what comes is thrown away
 */
export type TcpState = "waiting" | "handshake" | "refusing" | "open" | "draining" | "finished";
