import type { Principal } from "../core/access-rights.ts";

/** One accepted and authenticated connection, as the engine sees it. Transport framing is the session's own business. */
export interface Session {
  /** Unique in this process. */
  readonly id: number;
  readonly transport: "tcp" | "websocket";
  /** Where the peer is, for logs. */
  readonly peer: string;
  /** Who the peer is, as its token told. */
  readonly principal: Principal;
  /** The stream manager protocol version chosen at Connect; "1.1.0" on WebSocket without a Connect. */
  readonly protocolVersion: string;
  /** False once the session is closed or being closed; `send` then does nothing. */
  readonly isOpen: boolean;
  /** Bytes handed to `send` that the peer has not taken yet. */
  readonly bufferedBytes: number;
  /**
   * Sends one frame (`operation: u8`, body). The session owns `frame` from here on: do not change it, and never pass a view of
   * a ring. Frames sent in one turn of the event loop leave in one write.
   */
  send(frame: Uint8Array): void;
  /** Stops reading from the socket. Frames already received may still arrive. Calls nest by reason, not by count. */
  pause(reason: PauseReason): void;
  resume(reason: PauseReason): void;
  /** Closes after everything sent is flushed: FIN, never RST. `reason` is for the log and, on WebSocket, for the peer. */
  close(reason: string): void;
}

export type PauseReason =
  "forbidden" | "oversize" | "ring-full" | "in-flight" | "outbound" | "storage" | "not-ready" | "stopping";

/** What net calls. Implemented by the engine; the two meet in the root files only. */
export interface RequestHandler {
  onOpen(session: Session): void;
  /**
   * One whole frame, operation first. `frame` is a view valid only during the call. Must not throw for bad input: a throw
   * is a bug, is logged, and costs the peer its connection. Never an operation 1 (Connect), which net answers itself.
   */
  onFrame(session: Session, frame: Uint8Array): void;
  /** Called when `bufferedBytes` fell to zero after having been over the outbound limit. */
  onDrain(session: Session): void;
  /** Called once for each `onOpen`, when the socket is gone; never from inside a call to the session. */
  onClose(session: Session): void;
}
