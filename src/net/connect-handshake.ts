import { asMillraceError } from "../core/errors.ts";
import { StatusCode } from "../core/status-code.ts";
import {
  chooseProtocolVersion,
  type Connect,
  CONNECT_VERSION,
  decodeConnect,
  encodeConnectResponse,
  isProtocolVersion,
  PROTOCOL_VERSIONS,
} from "../wire/connect.ts";
import { prefixFrame } from "../wire/frame-decoder.ts";
import { findRequestId } from "../wire/reply.ts";

/** What the client asked for is possible, who it is left aside. */
export interface ConnectOffer {
  readonly connect: Connect;
  readonly protocolVersion: string;
}

/** Why a connection does not come about, as the client is told. */
export interface ConnectRefusal {
  readonly requestId: string;
  readonly status: StatusCode;
  readonly errorMessage: string;
}

/** Reads a Connect frame and chooses the version (PROTOCOL 1.5). */
export function readConnect(frame: Uint8Array): ConnectOffer | ConnectRefusal {
  let connect: Connect;
  try {
    connect = decodeConnect(frame);
  } catch (thrown) {
    return refuseConnect(frame, StatusCode.InvalidRequest, asMillraceError(thrown).message);
  }
  const { requestId, protocolVersion } = connect;
  if (!isProtocolVersion(protocolVersion)) {
    const errorMessage = "Cannot connect: protocolVersion is missing or not a version";
    return { requestId, status: StatusCode.InvalidProtocolVersion, errorMessage };
  }
  const chosen = chooseProtocolVersion(connect);
  if (chosen !== undefined) return { connect, protocolVersion: chosen };
  const errorMessage = `Cannot connect: this server speaks ${PROTOCOL_VERSIONS.join(", ")}`;
  return { requestId, status: StatusCode.UnsupportedProtocolVersion, errorMessage };
}

/** A refusal of a frame that need not be a Connect at all. */
export function refuseConnect(frame: Uint8Array, status: StatusCode, errorMessage: string): ConnectRefusal {
  return { requestId: findRequestId(frame) ?? "", status, errorMessage };
}

export function encodeConnectSuccess(options: {
  offer: ConnectOffer;
  serverVersion: string;
  clientIdentifier: string;
}): Uint8Array {
  const { offer, serverVersion, clientIdentifier } = options;
  return encodeConnectResponse({
    requestId: offer.connect.requestId,
    status: StatusCode.Success,
    errorMessage: "",
    protocolVersion: offer.protocolVersion,
    supportedProtocolVersions: PROTOCOL_VERSIONS,
    serverVersion,
    clientIdentifier,
  });
}

export function encodeConnectRefusal(refusal: ConnectRefusal, serverVersion: string): Uint8Array {
  return encodeConnectResponse({ ...refusal, supportedProtocolVersions: PROTOCOL_VERSIONS, serverVersion });
}

/** The server's first bytes over TCP: the connect byte and the response, to be written at once (PROTOCOL 1.2). */
export function firstReply(response: Uint8Array): Uint8Array {
  const prefixed = prefixFrame(response);
  const bytes = new Uint8Array(1 + prefixed.length);
  bytes[0] = CONNECT_VERSION;
  bytes.set(prefixed, 1);
  return bytes;
}
