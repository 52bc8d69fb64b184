import type { Socket } from "node:net";
import { assert } from "../core/assert.ts";
import { asMillraceError } from "../core/errors.ts";
import { CONNECT_FRAME_BYTES_MAX } from "../core/limits.ts";
import { StatusCode } from "../core/status-code.ts";
import { EventName } from "../observe/events.ts";
import type { Health } from "../observe/health.ts";
import type { Logger } from "../observe/logger.ts";
import { FrameDecoder, frameHeader, type OversizeFrame, prefixFrame } from "../wire/frame-decoder.ts";
import { isOwnRequest, Operation, OWN_OPERATION_MIN } from "../wire/operation.ts";
import type { Principal } from "../core/access-rights.ts";
import type { Authenticator } from "./authenticator.ts";
import {
  type ConnectOffer,
  type ConnectRefusal,
  encodeConnectRefusal,
  encodeConnectSuccess,
  firstReply,
  readConnect,
  refuseConnect,
} from "./connect-handshake.ts";
import { type DeadlineSweep, finishSocket, type Watched } from "./deadline-sweep.ts";
import { Outbound } from "./outbound.ts";
import { oversizeReply } from "./oversize-reply.ts";
import { peerOf } from "./peer-address.ts";
import { OversizeBrake } from "./oversize-brake.ts";
import { PauseReasons } from "./pause-reasons.ts";
import type { PortCounters, RefusalReason, TransportCounters } from "./port-counters.ts";
import type { PortLimits } from "./port-limits.ts";
import type { PauseReason, RequestHandler, Session } from "./request-handler.ts";
import { nextSessionId } from "./session-id.ts";
import type { TcpState } from "./tcp-state.ts";

/** Up to here length and frame are copied into one buffer; above, two buffers and one writev are cheaper. */
const COPIED_FRAME_BYTES_MAX = 16 * 1024;

export interface TcpSessionOptions {
  readonly socket: Socket;
  /** What came after the connect byte, already read. */
  readonly firstBytes: Uint8Array;
  readonly handler: RequestHandler;
  readonly authenticator: Authenticator;
  readonly health: Health;
  readonly sweep: DeadlineSweep;
  readonly counters: PortCounters;
  readonly limits: PortLimits;
  readonly logger: Logger;
  readonly serverVersion: string;
  /** Makes the kernel acknowledge at once what was received, where it can. */
  readonly acknowledgeNow: ((socket: Socket) => void) | undefined;
}

/** A connection of an official client (PROTOCOL 1). */
export class TcpSession implements Session, Watched {
  readonly id = nextSessionId();
  readonly transport = "tcp";
  readonly peer: string;
  readonly #options: TcpSessionOptions;
  readonly #socket: Socket;
  readonly #counters: TransportCounters;
  readonly #decoder: FrameDecoder;
  readonly #outbound: Outbound;
  readonly #pauses: PauseReasons;
  readonly #brake: OversizeBrake;
  readonly #onFrame = (frame: Uint8Array): void => this.#takeFrame(frame);
  readonly #onOversize = (frame: OversizeFrame): void => this.#takeOversize(frame);
  #state: TcpState = "waiting";
  #stateSinceMs: number;
  #identity: { readonly principal: Principal; readonly protocolVersion: string } | undefined;
  /** Requests of the stream manager's operations without a reply yet: each has exactly one (PROTOCOL 9.1). */
  #unansweredCount = 0;
  #frameCount = 0;
  #sweptFrameCount = 0;
  #partialSinceMs: number | undefined;
  #stopWaiting: (() => void) | undefined;
  #refusalTimer: NodeJS.Timeout | undefined;

  constructor(options: TcpSessionOptions) {
    const { socket, limits } = options;
    this.#options = options;
    this.#socket = socket;
    this.peer = peerOf(socket);
    this.#counters = options.counters.tcp;
    this.#decoder = new FrameDecoder({ frameBytesMax: limits.frameBytesMax });
    this.#stateSinceMs = options.sweep.nowMs;
    this.#outbound = new Outbound({
      socket,
      bufferedBytesMax: limits.outboundBufferedBytesMax,
      onDrain: () => {
        if (this.isOpen) options.handler.onDrain(this);
      },
    });
    this.#pauses = new PauseReasons((isPaused) => {
      if (isPaused) socket.pause();
      else socket.resume();
    });
    this.#brake = new OversizeBrake({ decoder: this.#decoder, pauses: this.#pauses });
  }

  get principal(): Principal {
    assert(this.#identity !== undefined, "a session is handed out after its handshake");
    return this.#identity.principal;
  }

  get protocolVersion(): string {
    assert(this.#identity !== undefined, "a session is handed out after its handshake");
    return this.#identity.protocolVersion;
  }

  get isOpen(): boolean {
    return this.#state === "open" || this.#state === "draining";
  }

  get isPaused(): boolean {
    return this.#pauses.isPaused;
  }

  get bufferedBytes(): number {
    return this.#outbound.bufferedBytes;
  }

  /** Begins the handshake, at once or when the engine is ready. The socket is paused. */
  start(): void {
    this.#counters.accepted += 1;
    this.#counters.open += 1;
    this.#options.sweep.add(this);
    this.#socket.once("close", () => this.#onClose());
    this.#stopWaiting = this.#options.health.whenReady(() => this.#beginHandshake());
  }

  send(frame: Uint8Array): void {
    if (!this.isOpen) return;
    this.#counters.framesSent += 1;
    this.#counters.sentBytes += frame.length;
    this.#outbound.open();
    if (frame.length <= COPIED_FRAME_BYTES_MAX) {
      this.#socket.write(prefixFrame(frame));
    } else {
      this.#socket.write(frameHeader(frame.length));
      this.#socket.write(frame);
    }
    this.#outbound.note();
    if (frame[0]! >= OWN_OPERATION_MIN) return;
    this.#unansweredCount -= 1;
    if (this.#state === "draining" && this.#unansweredCount <= 0) this.#finish();
  }

  pause(reason: PauseReason): void {
    if (this.isOpen) this.#pauses.add(reason);
  }

  resume(reason: PauseReason): void {
    this.#pauses.remove(reason);
  }

  close(reason: string): void {
    this.#options.logger.debug(EventName.ConnectionClosed, { session: this.id, peer: this.peer, reason });
    this.#finish();
  }

  /** Its token lets nobody in any more: what it still sends is not taken. */
  revoke(): void {
    this.#finish();
  }

  /** The engine stops: what was asked is answered, then the connection ends. */
  goAway(): void {
    if (this.#state === "open") this.pause("stopping");
    this.#drain();
  }

  checkDeadlines(nowMs: number): void {
    const { readyWaitMsMax, handshakeDeadlineMs, halfCloseDeadlineMs, slowReaderDeadlineMs } =
      this.#options.limits;
    if (this.#outbound.isStuck(nowMs, slowReaderDeadlineMs)) {
      this.#noteExpiry("slow-reader");
      // What it has not read it never will: a clean end would wait behind it.
      this.#socket.destroy();
      return;
    }
    const elapsedMs = nowMs - this.#stateSinceMs;
    switch (this.#state) {
      case "waiting":
        if (elapsedMs >= readyWaitMsMax) this.#expire("not-ready");
        break;
      case "handshake":
        if (elapsedMs >= handshakeDeadlineMs) this.#expire("handshake-deadline");
        break;
      case "open":
        this.#brake.release();
        if (this.#isFrameLate(nowMs)) this.#expire("frame-deadline");
        break;
      case "draining":
        if (elapsedMs >= halfCloseDeadlineMs) this.#finish();
        break;
      case "refusing":
      case "finished":
        break;
    }
  }

  #beginHandshake(): void {
    this.#stopWaiting = undefined;
    if (this.#state !== "waiting") return;
    this.#enter("handshake");
    this.#socket.on("data", (chunk: Buffer) => this.#onData(chunk));
    this.#socket.once("end", () => this.#drain());
    this.#onData(this.#options.firstBytes);
    this.#socket.resume();
  }

  #onData(chunk: Uint8Array): void {
    if (this.#state === "finished" || this.#state === "refusing") return;
    this.#options.acknowledgeNow?.(this.#socket);
    try {
      this.#decoder.push(chunk, this.#onFrame, this.#onOversize);
    } catch (thrown) {
      // PROTOCOL 1.3: where the stream cannot be followed any more, the connection ends without a reply.
      this.#refuse("malformed-frame", asMillraceError(thrown).message);
      this.#finish();
      return;
    }
    if (this.isOpen) this.#brake.noteRead();
    if (this.#isInHandshake() && this.#decoder.pendingBytes > CONNECT_FRAME_BYTES_MAX) {
      const errorMessage = `Cannot connect: more than ${CONNECT_FRAME_BYTES_MAX} bytes before Connect`;
      this.#answerRefusal({ requestId: "", status: StatusCode.RequestPayloadTooLarge, errorMessage });
    }
  }

  #takeFrame(frame: Uint8Array): void {
    if (this.#isInHandshake()) {
      this.#takeConnect(frame);
      return;
    }
    if (!this.isOpen) return;
    const operation = frame[0]!;
    this.#frameCount += 1;
    this.#counters.framesReceived += 1;
    this.#counters.receivedBytes += frame.length;
    if (!isOwnRequest(operation)) this.#unansweredCount += 1;
    try {
      if (operation === Operation.Connect) this.#refuseSecondConnect(frame);
      else this.#options.handler.onFrame(this, frame);
    } catch (thrown) {
      this.#options.counters.refuse("failed");
      this.#options.logger.error(EventName.RequestFailed, { session: this.id, peer: this.peer }, thrown);
      this.#finish();
    }
  }

  #takeOversize(frame: OversizeFrame): void {
    const { frameBytesMax } = this.#options.limits;
    if (this.#isInHandshake()) {
      const errorMessage = `Cannot connect: frame of ${frame.frameBytes} bytes, the limit is ${frameBytesMax}`;
      this.#answerRefusal(refuseConnect(frame.prefix, StatusCode.RequestPayloadTooLarge, errorMessage));
      return;
    }
    if (!this.isOpen) return;
    const reply = oversizeReply(frame, frameBytesMax);
    if (reply === undefined) {
      this.#refuse("malformed-frame", `frame of ${frame.frameBytes} bytes that cannot be answered`);
      this.#finish();
      return;
    }
    this.#unansweredCount += 1;
    this.send(reply);
  }

  #takeConnect(frame: Uint8Array): void {
    if (frame[0] !== Operation.Connect) {
      const errorMessage = "Cannot connect: the first frame must be Connect";
      this.#answerRefusal(refuseConnect(frame, StatusCode.UnexpectedOperation, errorMessage));
      return;
    }
    const offer = readConnect(frame);
    if ("status" in offer) {
      this.#answerRefusal(offer);
      return;
    }
    const verdict = this.#options.authenticator.authenticate(offer.connect.authToken);
    if (verdict.isAccepted) {
      this.#open(offer, verdict.principal);
      return;
    }
    this.#options.logger.warn(EventName.AuthenticationRefused, {
      transport: this.transport,
      peer: this.peer,
      delayMs: verdict.delayMs,
    });
    this.#options.counters.refuse("token");
    this.#enter("refusing");
    const { requestId } = offer.connect;
    const errorMessage = verdict.reason ?? "Cannot connect: the auth token is missing or wrong";
    const answer = (): void => {
      this.#writeRefusal({ requestId, status: StatusCode.Unauthorized, errorMessage });
    };
    if (verdict.delayMs > 0) this.#refusalTimer = setTimeout(answer, verdict.delayMs);
    else answer();
  }

  #open(offer: ConnectOffer, principal: Principal): void {
    const { handler, logger, serverVersion } = this.#options;
    this.#identity = { principal, protocolVersion: offer.protocolVersion };
    this.#enter("open");
    this.#outbound.open();
    const response = encodeConnectSuccess({ offer, serverVersion, clientIdentifier: `tcp-${this.id}` });
    this.#socket.write(firstReply(response));
    logger.debug(EventName.ConnectionOpened, {
      session: this.id,
      transport: this.transport,
      peer: this.peer,
      principal: principal.name,
      version: offer.connect.sdkVersion ?? "unknown",
    });
    handler.onOpen(this);
  }

  #answerRefusal(refusal: ConnectRefusal): void {
    this.#refuse("handshake", refusal.errorMessage);
    this.#writeRefusal(refusal);
  }

  #writeRefusal(refusal: ConnectRefusal): void {
    this.#socket.write(firstReply(encodeConnectRefusal(refusal, this.#options.serverVersion)));
    this.#finish();
  }

  #refuseSecondConnect(frame: Uint8Array): void {
    const refusal = refuseConnect(frame, StatusCode.UnexpectedOperation, "Cannot connect twice");
    this.send(encodeConnectRefusal(refusal, this.#options.serverVersion));
    this.#finish();
  }

  /** The peer has said its last, or may say no more. */
  #drain(): void {
    if (this.#state === "open" && this.#unansweredCount > 0) this.#enter("draining");
    else if (this.#state !== "refusing" && this.#state !== "draining") this.#finish();
  }

  #finish(): void {
    if (this.#state === "finished") return;
    this.#enter("finished");
    this.#pauses.clear();
    const { sweep, limits } = this.#options;
    finishSocket(this.#socket, { sweep, deadlineMs: limits.lingerDeadlineMs });
  }

  #isInHandshake(): boolean {
    return this.#state === "handshake";
  }

  /** SDK clients sit idle for days, which is their right; a frame that has begun must end. */
  #isFrameLate(nowMs: number): boolean {
    const isMoving = this.#frameCount !== this.#sweptFrameCount;
    this.#sweptFrameCount = this.#frameCount;
    if (this.#decoder.pendingBytes === 0 || this.#pauses.isPaused) {
      this.#partialSinceMs = undefined;
      return false;
    }
    if (isMoving) this.#partialSinceMs = nowMs;
    this.#partialSinceMs ??= nowMs;
    return nowMs - this.#partialSinceMs >= this.#options.limits.frameDeadlineMs;
  }

  #expire(reason: RefusalReason): void {
    this.#noteExpiry(reason);
    this.#finish();
  }

  #noteExpiry(reason: RefusalReason): void {
    this.#options.counters.refuse(reason);
    const fields = { session: this.id, transport: this.transport, peer: this.peer, reason };
    this.#options.logger.info(EventName.ConnectionExpired, fields);
  }

  #refuse(reason: RefusalReason, text: string): void {
    this.#options.counters.refuse(reason);
    const fields = { transport: this.transport, peer: this.peer, reason: text };
    this.#options.logger.debug(EventName.ConnectionRefused, fields);
  }

  #enter(state: TcpState): void {
    this.#state = state;
    this.#stateSinceMs = this.#options.sweep.nowMs;
  }

  #onClose(): void {
    this.#state = "finished";
    this.#counters.open -= 1;
    this.#options.sweep.remove(this);
    this.#stopWaiting?.();
    clearTimeout(this.#refusalTimer);
    if (this.#identity !== undefined) this.#options.handler.onClose(this);
  }
}
