/** What the engine needs of a connection; net's sessions are such. */
export interface ClientSession {
  readonly id: number;
  readonly protocolVersion: string;
  readonly isOpen: boolean;
  /** Bytes sent that the peer has not taken yet. */
  readonly bufferedBytes: number;
  /** Sends one frame, operation first; owns it from here on. */
  send(frame: Uint8Array): void;
  pause(reason: "ring-full" | "in-flight" | "outbound"): void;
  resume(reason: "ring-full" | "in-flight" | "outbound"): void;
  close(reason: string): void;
}
