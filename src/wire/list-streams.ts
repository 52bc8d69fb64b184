import { REQUEST_ID_BYTES_MAX } from "../core/limits.ts";
import { CborWriter } from "./cbor-writer.ts";
import { Operation } from "./operation.ts";
import type { Reply } from "./reply.ts";
import { beginReply, checkRequestId, NAME_BYTES_MAX, readFields, readReply } from "./reply.ts";

/* ListStreams (11): requestId. Its reply (12) adds streams, an array of names, left out when the status is not 0. */
export interface ListStreams {
  readonly requestId: string;
}

export interface ListStreamsResponse extends Reply {
  readonly streams?: readonly string[];
}

export function encodeListStreams(request: ListStreams): Uint8Array {
  return new CborWriter(Operation.ListStreams).map(1).text("requestId").text(request.requestId).finish();
}

/** @throws {MillraceError} MALFORMED_CBOR, INVALID_REQUEST */
export function decodeListStreams(frame: Uint8Array): ListStreams {
  let requestId: string | undefined;
  readFields(frame, (reader, key) => {
    if (key !== "requestId") return false;
    requestId = reader.readText(key, REQUEST_ID_BYTES_MAX);
    return true;
  });
  return { requestId: checkRequestId(requestId) };
}

export function encodeListStreamsResponse(reply: ListStreamsResponse): Uint8Array {
  const { streams } = reply;
  const writer = beginReply(Operation.ListStreamsResponse, reply, streams ? 1 : 0);
  if (streams) {
    writer.text("streams").array(streams.length);
    for (const name of streams) writer.text(name);
  }
  return writer.finish();
}

/** @throws {MillraceError} MALFORMED_CBOR */
export function decodeListStreamsResponse(frame: Uint8Array): ListStreamsResponse {
  let streams: string[] | undefined;
  const reply = readReply(frame, (reader, key) => {
    if (key !== "streams") return false;
    streams = [];
    reader.openArray(key);
    while (reader.nextItem()) streams.push(reader.readText(key, NAME_BYTES_MAX));
    return true;
  });
  return streams ? { ...reply, streams } : reply;
}
