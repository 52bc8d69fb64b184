import {
  CONNECTION_BURST_MAX,
  CONNECTIONS_MAX_DEFAULT,
  CONNECTIONS_PER_ADDRESS_DEFAULT,
  CONNECTIONS_PER_SECOND_MAX,
  FIRST_BYTE_DEADLINE_MS,
  FRAME_DEADLINE_MS,
  FRAME_OVERHEAD_BYTES_MAX,
  HANDSHAKE_DEADLINE_MS,
  HTTP_HEADERS_DEADLINE_MS,
  HTTP_REQUEST_DEADLINE_MS,
  LINGER_DEADLINE_MS,
  MESSAGE_BYTES_MAX_DEFAULT,
  OUTBOUND_BUFFERED_BYTES_MAX,
  READ_WAIT_MS_MAX,
  READY_WAIT_MS_MAX,
  SHUTDOWN_DEADLINE_MS,
  SLOW_READER_DEADLINE_MS,
  WEBSOCKET_PING_INTERVAL_MS,
} from "../core/limits.ts";

/** Every bound of the port, so that a test can reach each of them in milliseconds. */
export interface PortLimits {
  readonly connectionsMax: number;
  /** Of one address that is not this machine's. */
  readonly connectionsPerAddressMax: number;
  /** New ones, of this machine and of all others each, after so many at once. */
  readonly connectionsPerSecondMax: number;
  readonly connectionBurstMax: number;
  readonly frameBytesMax: number;
  readonly outboundBufferedBytesMax: number;
  readonly firstByteDeadlineMs: number;
  readonly readyWaitMsMax: number;
  readonly handshakeDeadlineMs: number;
  readonly frameDeadlineMs: number;
  readonly pingIntervalMs: number;
  readonly slowReaderDeadlineMs: number;
  readonly lingerDeadlineMs: number;
  /** How long a client that has said its last is still owed the replies to what it asked. */
  readonly halfCloseDeadlineMs: number;
  readonly headersDeadlineMs: number;
  readonly requestDeadlineMs: number;
  readonly shutdownDeadlineMs: number;
  /** How often deadlines are looked at: each is kept to this much. */
  readonly sweepIntervalMs: number;
}

export const portLimitsDefault: PortLimits = {
  connectionsMax: CONNECTIONS_MAX_DEFAULT,
  connectionsPerAddressMax: CONNECTIONS_PER_ADDRESS_DEFAULT,
  connectionsPerSecondMax: CONNECTIONS_PER_SECOND_MAX,
  connectionBurstMax: CONNECTION_BURST_MAX,
  frameBytesMax: MESSAGE_BYTES_MAX_DEFAULT + FRAME_OVERHEAD_BYTES_MAX,
  outboundBufferedBytesMax: OUTBOUND_BUFFERED_BYTES_MAX,
  firstByteDeadlineMs: FIRST_BYTE_DEADLINE_MS,
  readyWaitMsMax: READY_WAIT_MS_MAX,
  handshakeDeadlineMs: HANDSHAKE_DEADLINE_MS,
  frameDeadlineMs: FRAME_DEADLINE_MS,
  pingIntervalMs: WEBSOCKET_PING_INTERVAL_MS,
  slowReaderDeadlineMs: SLOW_READER_DEADLINE_MS,
  lingerDeadlineMs: LINGER_DEADLINE_MS,
  halfCloseDeadlineMs: READ_WAIT_MS_MAX,
  headersDeadlineMs: HTTP_HEADERS_DEADLINE_MS,
  requestDeadlineMs: HTTP_REQUEST_DEADLINE_MS,
  shutdownDeadlineMs: SHUTDOWN_DEADLINE_MS,
  sweepIntervalMs: 1000,
};
