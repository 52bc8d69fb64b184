import { REQUEST_ID_BYTES_MAX } from "../core/limits.ts";
import type { CborReader } from "./cbor-reader.ts";
import { CborWriter } from "./cbor-writer.ts";
import { Operation } from "./operation.ts";
import type { Reply } from "./reply.ts";
import { beginReply, checkRequestId, readFields, readReply } from "./reply.ts";

/*
 * Connect (1): requestId, protocolVersion, otherSupportedProtocolVersions, sdkVersion, authToken.
 * ConnectResponse (6): requestId, status, errorMessage, protocolVersion, supportedProtocolVersions, serverVersion, clientIdentifier.
 * Over TCP the client sends one byte before it, CONNECT_VERSION, and the server answers with the same byte (PROTOCOL 1.2).
 */
export const CONNECT_VERSION = 1;
export const PROTOCOL_VERSIONS = ["1.1.0", "1.0.0"] as const;
export type ProtocolVersion = (typeof PROTOCOL_VERSIONS)[number];

const VERSION_BYTES_MAX = 256;
const VERSIONS_MAX = 64;
const TOKEN_BYTES_MAX = 16 * 1024;

export interface Connect {
  readonly requestId: string;
  /** Absent or of any form: the server answers with the status that says so (PROTOCOL 1.5). */
  readonly protocolVersion?: string;
  readonly otherSupportedProtocolVersions: readonly string[];
  readonly sdkVersion?: string;
  /** "" counts as absent. */
  readonly authToken?: string;
}

export interface ConnectResponse extends Reply {
  readonly protocolVersion?: string;
  readonly supportedProtocolVersions?: readonly string[];
  readonly serverVersion?: string;
  readonly clientIdentifier?: string;
}

/** The version for this connection (PROTOCOL 1.5), or undefined when none of those offered is spoken here. */
export function chooseProtocolVersion(connect: Connect): ProtocolVersion | undefined {
  const offered = [connect.protocolVersion, ...connect.otherSupportedProtocolVersions];
  for (const version of offered) {
    const known = PROTOCOL_VERSIONS.find((candidate) => candidate === version);
    if (known) return known;
  }
  return undefined;
}

/** Whether a version text can be read at all; the answer otherwise is InvalidProtocolVersion. */
export function isProtocolVersion(version: string | undefined): version is string {
  return version !== undefined && /^\d+\.\d+(\.|$)/.test(version);
}

export function encodeConnect(connect: Connect): Uint8Array {
  const { protocolVersion, sdkVersion, authToken } = connect;
  const others = connect.otherSupportedProtocolVersions;
  const optional = [protocolVersion, others[0], sdkVersion, authToken];
  const keyCount = 1 + optional.filter((value) => value !== undefined).length;
  const writer = new CborWriter(Operation.Connect).map(keyCount).text("requestId").text(connect.requestId);
  writeText(writer, "protocolVersion", protocolVersion);
  if (others.length > 0) writeTexts(writer, "otherSupportedProtocolVersions", others);
  writeText(writer, "sdkVersion", sdkVersion);
  writeText(writer, "authToken", authToken);
  return writer.finish();
}

/** @throws {MillraceError} MALFORMED_CBOR, INVALID_REQUEST */
export function decodeConnect(frame: Uint8Array): Connect {
  let requestId: string | undefined;
  let otherSupportedProtocolVersions: readonly string[] = [];
  const texts: { protocolVersion?: string; sdkVersion?: string; authToken?: string } = {};
  readFields(frame, (reader, key) => {
    if (key === "requestId") requestId = reader.readText(key, REQUEST_ID_BYTES_MAX);
    else if (key === "protocolVersion") texts.protocolVersion = reader.readText(key, VERSION_BYTES_MAX);
    else if (key === "otherSupportedProtocolVersions")
      otherSupportedProtocolVersions = readTexts(reader, key);
    else if (key === "sdkVersion") texts.sdkVersion = reader.readText(key, VERSION_BYTES_MAX);
    else if (key === "authToken") texts.authToken = reader.readText(key, TOKEN_BYTES_MAX);
    else return false;
    return true;
  });
  if (texts.authToken === "") delete texts.authToken;
  return { requestId: checkRequestId(requestId), otherSupportedProtocolVersions, ...texts };
}

export function encodeConnectResponse(reply: ConnectResponse): Uint8Array {
  const { protocolVersion, supportedProtocolVersions, serverVersion, clientIdentifier } = reply;
  const optional = [protocolVersion, supportedProtocolVersions, serverVersion, clientIdentifier];
  const moreKeys = optional.filter((value) => value !== undefined).length;
  const writer = beginReply(Operation.ConnectResponse, reply, moreKeys);
  writeText(writer, "protocolVersion", protocolVersion);
  if (supportedProtocolVersions) writeTexts(writer, "supportedProtocolVersions", supportedProtocolVersions);
  writeText(writer, "serverVersion", serverVersion);
  writeText(writer, "clientIdentifier", clientIdentifier);
  return writer.finish();
}

/** @throws {MillraceError} MALFORMED_CBOR, INVALID_REQUEST */
export function decodeConnectResponse(frame: Uint8Array): ConnectResponse {
  const more: {
    protocolVersion?: string;
    supportedProtocolVersions?: readonly string[];
    serverVersion?: string;
    clientIdentifier?: string;
  } = {};
  const reply = readReply(frame, (reader, key) => {
    if (key === "protocolVersion") more.protocolVersion = reader.readText(key, VERSION_BYTES_MAX);
    else if (key === "supportedProtocolVersions") more.supportedProtocolVersions = readTexts(reader, key);
    else if (key === "serverVersion") more.serverVersion = reader.readText(key, VERSION_BYTES_MAX);
    else if (key === "clientIdentifier") more.clientIdentifier = reader.readText(key, VERSION_BYTES_MAX);
    else return false;
    return true;
  });
  return { ...reply, ...more };
}

function writeText(writer: CborWriter, key: string, value: string | undefined): void {
  if (value !== undefined) writer.text(key).text(value);
}

function writeTexts(writer: CborWriter, key: string, values: readonly string[]): void {
  writer.text(key).array(values.length);
  for (const value of values) writer.text(value);
}

/** Versions past VERSIONS_MAX are walked over: the first ones are the peer's preference. */
function readTexts(reader: CborReader, key: string): string[] {
  const texts: string[] = [];
  reader.openArray(key);
  while (reader.nextItem()) {
    if (texts.length < VERSIONS_MAX) texts.push(reader.readText(key, VERSION_BYTES_MAX));
    else reader.skip();
  }
  return texts;
}
