import type { Principal } from "../core/access-rights.ts";

/** What the engine needs of a connection; net's sessions are such. */
export interface ClientSession {
  readonly id: number;
  /** Who it is and what that may do, for as long as the connection lives. */
  readonly principal: Principal;
  readonly protocolVersion: string;
  readonly isOpen: boolean;
  /** Bytes sent that the peer has not taken yet. */
  readonly bufferedBytes: number;
  /** Sends one frame, operation first; owns it from here on. */
  send(frame: Uint8Array): void;
  pause(reason: ClientPauseReason): void;
  resume(reason: ClientPauseReason): void;
  close(reason: string): void;
}

type ClientPauseReason = "forbidden" | "ring-full" | "in-flight" | "outbound" | "storage";
