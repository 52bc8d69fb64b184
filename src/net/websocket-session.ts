import type { Socket } from "node:net";
import type { RawData, WebSocket } from "ws";
import { EventName } from "../observe/events.ts";
import type { Logger } from "../observe/logger.ts";
import { Operation } from "../wire/operation.ts";
import { encodeTextCut } from "../wire/text.ts";
import type { Principal } from "../core/access-rights.ts";
import { type DeadlineSweep, finishSocket, type Watched } from "./deadline-sweep.ts";
import { Outbound } from "./outbound.ts";
import { PauseReasons } from "./pause-reasons.ts";
import type { PortCounters, TransportCounters } from "./port-counters.ts";
import type { PortLimits } from "./port-limits.ts";
import type { PauseReason, RequestHandler, Session } from "./request-handler.ts";
import { nextSessionId } from "./session-id.ts";

/** Close codes of RFC 6455 section 7.4.1. */
const CloseCode = {
  Normal: 1000,
  GoingAway: 1001,
  Protocol: 1002,
  Unsupported: 1003,
  Policy: 1008,
  Internal: 1011,
} as const;
const CLOSE_REASON_BYTES_MAX = 123;
const FRAME_BYTES_MIN = 2;
/** Bytes of a client's control frame besides its payload: two of header, four of mask. */
const CONTROL_HEADER_BYTES = 6;

export interface WebSocketSessionOptions {
  readonly webSocket: WebSocket;
  readonly socket: Socket;
  readonly principal: Principal;
  readonly peer: string;
  readonly handler: RequestHandler;
  readonly sweep: DeadlineSweep;
  readonly counters: PortCounters;
  readonly limits: PortLimits;
  readonly logger: Logger;
  readonly answerConnect: (frame: Uint8Array) => ConnectAnswer;
}

/** What becomes of a Connect frame: the reply, and the version if it is a success. */
export interface ConnectAnswer {
  readonly reply: Uint8Array;
  readonly protocolVersion: string | undefined;
}

/** A WebSocket connection: each binary message is one frame. Authenticated before it exists. */
export class WebSocketSession implements Session, Watched {
  readonly id = nextSessionId();
  readonly transport = "websocket";
  readonly peer: string;
  readonly principal: Principal;
  readonly #options: WebSocketSessionOptions;
  readonly #webSocket: WebSocket;
  readonly #socket: Socket;
  readonly #handler: RequestHandler;
  readonly #counters: TransportCounters;
  readonly #outbound: Outbound;
  readonly #pauses: PauseReasons;
  #protocolVersion = "1.1.0";
  #isOpen = true;
  #messageCount = 0;
  #controlBytes = 0;
  #sweptMessageCount = 0;
  #sweptDataBytes = 0;
  #partialSinceMs: number | undefined;
  #heardMs: number;
  #pingedMs: number | undefined;

  constructor(options: WebSocketSessionOptions) {
    this.#options = options;
    this.peer = options.peer;
    this.principal = options.principal;
    this.#webSocket = options.webSocket;
    this.#socket = options.socket;
    this.#handler = options.handler;
    this.#counters = options.counters.websocket;
    this.#heardMs = options.sweep.nowMs;
    this.#sweptDataBytes = options.socket.bytesRead;
    this.#outbound = new Outbound({
      socket: options.socket,
      bufferedBytesMax: options.limits.outboundBufferedBytesMax,
      onDrain: () => {
        if (this.#isOpen) this.#handler.onDrain(this);
      },
    });
    this.#pauses = new PauseReasons((isPaused) => {
      if (isPaused) this.#webSocket.pause();
      else this.#webSocket.resume();
    });
  }

  get protocolVersion(): string {
    return this.#protocolVersion;
  }

  get isOpen(): boolean {
    return this.#isOpen;
  }

  get isPaused(): boolean {
    return this.#pauses.isPaused;
  }

  get bufferedBytes(): number {
    return this.#outbound.bufferedBytes;
  }

  /** Tells the handler and begins to deliver frames. */
  start(): void {
    const webSocket = this.#webSocket;
    this.#counters.accepted += 1;
    this.#counters.open += 1;
    this.#options.sweep.add(this);
    webSocket.on("message", (data, isBinary) => this.#onMessage(data, isBinary));
    webSocket.on("ping", (data) => (this.#controlBytes += CONTROL_HEADER_BYTES + data.length));
    webSocket.on("pong", (data) => {
      this.#controlBytes += CONTROL_HEADER_BYTES + data.length;
      this.#pingedMs = undefined;
    });
    // ws has sent the fitting close code. A peer that broke the protocol gets no time to answer it: our end follows at once.
    webSocket.on("error", (error) => {
      this.#isOpen = false;
      this.#pauses.clear();
      const { sweep, limits } = this.#options;
      finishSocket(this.#socket, { sweep, deadlineMs: limits.lingerDeadlineMs });
      this.#options.counters.refuse("malformed-frame");
      this.#options.logger.debug(EventName.ConnectionFailed, {
        session: this.id,
        transport: this.transport,
        peer: this.peer,
        reason: error.message,
      });
    });
    webSocket.once("close", () => this.#onClose());
    this.#handler.onOpen(this);
  }

  send(frame: Uint8Array): void {
    if (!this.#isOpen) return;
    this.#counters.framesSent += 1;
    this.#counters.sentBytes += frame.length;
    this.#outbound.open();
    this.#webSocket.send(frame);
    this.#outbound.note();
  }

  pause(reason: PauseReason): void {
    if (this.#isOpen) this.#pauses.add(reason);
  }

  resume(reason: PauseReason): void {
    this.#pauses.remove(reason);
  }

  close(reason: string): void {
    this.#close(CloseCode.Normal, reason);
  }

  /** Its token lets nobody in any more: what it still sends is not taken. */
  revoke(): void {
    this.#close(CloseCode.Policy, "token revoked");
  }

  /** The engine stops: the peer should come back later. */
  goAway(): void {
    this.#close(CloseCode.GoingAway, "stopping");
  }

  checkDeadlines(nowMs: number): void {
    const { frameDeadlineMs, pingIntervalMs, slowReaderDeadlineMs } = this.#options.limits;
    if (this.#outbound.isStuck(nowMs, slowReaderDeadlineMs)) {
      this.#expire("slow-reader");
      return;
    }
    if (this.#pauses.isPaused || !this.#isOpen) {
      // We do not listen, so silence says nothing about the peer.
      this.#heardMs = nowMs;
      this.#pingedMs = undefined;
      this.#partialSinceMs = undefined;
      return;
    }
    if (this.#isFrameLate(nowMs, frameDeadlineMs)) {
      this.#expire("frame-deadline");
      return;
    }
    if (this.#pingedMs !== undefined) {
      if (nowMs - this.#pingedMs >= pingIntervalMs) this.#expire("dead-peer");
    } else if (nowMs - this.#heardMs >= pingIntervalMs) {
      this.#heardMs = nowMs;
      this.#pingedMs = nowMs;
      this.#webSocket.ping();
    }
  }

  /**
   * A message has begun when bytes came that ended none. One that stalls in the middle of a WebSocket frame also fails to
   * answer pings, since a pong cannot overtake the rest of its frame.
   */
  #isFrameLate(nowMs: number, deadlineMs: number): boolean {
    const dataBytes = this.#socket.bytesRead - this.#controlBytes;
    if (this.#messageCount !== this.#sweptMessageCount) {
      this.#partialSinceMs = undefined;
      this.#heardMs = nowMs;
      this.#pingedMs = undefined;
    } else if (dataBytes !== this.#sweptDataBytes) {
      this.#partialSinceMs ??= nowMs;
    }
    this.#sweptMessageCount = this.#messageCount;
    this.#sweptDataBytes = dataBytes;
    return this.#partialSinceMs !== undefined && nowMs - this.#partialSinceMs >= deadlineMs;
  }

  #onMessage(data: RawData, isBinary: boolean): void {
    if (!this.#isOpen) return;
    if (!isBinary) {
      this.#close(CloseCode.Unsupported, "binary messages only");
      return;
    }
    // `nodebuffer` is the binary type: a view of what the socket read where the message came in one piece.
    const frame = data as Buffer;
    if (frame.length < FRAME_BYTES_MIN) {
      this.#options.counters.refuse("malformed-frame");
      this.#close(CloseCode.Protocol, "a frame is an operation and a payload");
      return;
    }
    this.#messageCount += 1;
    this.#counters.framesReceived += 1;
    this.#counters.receivedBytes += frame.length;
    try {
      if (frame[0] === Operation.Connect) this.#onConnect(frame);
      else this.#handler.onFrame(this, frame);
    } catch (thrown) {
      this.#options.logger.error(EventName.RequestFailed, { session: this.id, peer: this.peer }, thrown);
      this.#options.counters.refuse("failed");
      this.#close(CloseCode.Internal, "internal error");
    }
  }

  #onConnect(frame: Uint8Array): void {
    const { reply, protocolVersion } = this.#options.answerConnect(frame);
    this.send(reply);
    if (protocolVersion === undefined) this.#close(CloseCode.Protocol, "connect refused");
    else this.#protocolVersion = protocolVersion;
  }

  #close(code: number, reason: string): void {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    this.#pauses.clear();
    this.#webSocket.close(code, Buffer.from(encodeTextCut(reason, CLOSE_REASON_BYTES_MAX)));
  }

  /** The peer does not play along any more: nothing is gained by asking it to close. */
  #expire(reason: "slow-reader" | "frame-deadline" | "dead-peer"): void {
    this.#isOpen = false;
    this.#options.counters.refuse(reason);
    this.#options.logger.info(EventName.ConnectionExpired, {
      session: this.id,
      transport: this.transport,
      peer: this.peer,
      reason,
    });
    this.#webSocket.terminate();
  }

  #onClose(): void {
    this.#isOpen = false;
    this.#counters.open -= 1;
    this.#options.sweep.remove(this);
    this.#handler.onClose(this);
  }
}
