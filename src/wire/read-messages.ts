import { READ_REPLY_MESSAGE_OVERHEAD_BYTES, REQUEST_ID_BYTES_MAX } from "../core/limits.ts";
import type { Message, ReadMessagesOptions } from "../core/stream-definition.ts";
import type { CborReader } from "./cbor-reader.ts";
import { CborWriter } from "./cbor-writer.ts";
import type { FieldRulesOf } from "./field-rules.ts";
import {
  checkRecord,
  DURATION_MS_MAX,
  INT32_MAX,
  INT64_MAX,
  invalid,
  readRecord,
  writeRecord,
} from "./field-rules.ts";
import { Operation } from "./operation.ts";
import type { Reply } from "./reply.ts";
import { beginReply, checkName, checkRequestId, NAME_BYTES_MAX, readFields, readReply } from "./reply.ts";

/* ReadMessages (5): requestId, streamName, readMessagesOptions. Its reply (10) adds messages, left out when the status is not 0. */
export interface ReadMessages {
  readonly requestId: string;
  readonly streamName: string;
  /** Every option with its default (PROTOCOL 4). */
  readonly options: Required<ReadMessagesOptions>;
}

export interface ReadMessagesResponse extends Reply {
  readonly messages?: readonly Message[];
}

const optionRules: FieldRulesOf<ReadMessagesOptions> = {
  desiredStartSequenceNumber: { kind: "integer", min: 0, max: INT64_MAX, default: 0 },
  minMessageCount: { kind: "integer", min: 1, max: INT32_MAX, default: 1 },
  maxMessageCount: { kind: "integer", min: 1, max: INT32_MAX },
  readTimeoutMillis: { kind: "integer", min: 0, max: DURATION_MS_MAX, default: 0 },
};

/** Checks read options and fills in what is absent. @throws {MillraceError} INVALID_REQUEST */
export function checkReadMessagesOptions(input: unknown): Required<ReadMessagesOptions> {
  const options = checkRecord(input, optionRules, "readMessagesOptions") as {
    desiredStartSequenceNumber: number;
    minMessageCount: number;
    maxMessageCount?: number;
    readTimeoutMillis: number;
  };
  const maxMessageCount = options.maxMessageCount ?? options.minMessageCount;
  if (options.minMessageCount > maxMessageCount) {
    throw invalid(
      `readMessagesOptions.minMessageCount is ${options.minMessageCount}, above maxMessageCount ${maxMessageCount}`,
    );
  }
  // No message has a number above 2^53 - 1, so starting there is starting behind the newest, as asked.
  const start = Math.min(options.desiredStartSequenceNumber, Number.MAX_SAFE_INTEGER);
  return { ...options, desiredStartSequenceNumber: start, maxMessageCount };
}

export function encodeReadMessages(request: {
  readonly requestId: string;
  readonly streamName: string;
  readonly options?: ReadMessagesOptions;
}): Uint8Array {
  const { options } = request;
  const writer = new CborWriter(Operation.ReadMessages)
    .map(options ? 3 : 2)
    .text("requestId")
    .text(request.requestId)
    .text("streamName")
    .text(request.streamName);
  if (options) writeRecord(writer.text("readMessagesOptions"), options, optionRules);
  return writer.finish();
}

/** @throws {MillraceError} MALFORMED_CBOR, INVALID_REQUEST */
export function decodeReadMessages(frame: Uint8Array): ReadMessages {
  let requestId: string | undefined;
  let streamName: string | undefined;
  let options: Record<string, unknown> = {};
  readFields(frame, (reader, key) => {
    if (key === "requestId") requestId = reader.readText(key, REQUEST_ID_BYTES_MAX);
    else if (key === "streamName") streamName = reader.readText(key, NAME_BYTES_MAX);
    else if (key === "readMessagesOptions") options = readRecord(reader, optionRules, key);
    else return false;
    return true;
  });
  return {
    requestId: checkRequestId(requestId),
    streamName: checkName(streamName, "streamName"),
    options: checkReadMessagesOptions(options),
  };
}

export function encodeReadMessagesResponse(reply: ReadMessagesResponse): Uint8Array {
  const { messages } = reply;
  let bytesExpected = 512;
  for (const { payload, streamName } of messages ?? []) {
    bytesExpected += READ_REPLY_MESSAGE_OVERHEAD_BYTES + streamName.length + payload.length;
  }
  const writer = beginReply(Operation.ReadMessagesResponse, reply, messages ? 1 : 0, bytesExpected);
  if (messages) {
    writer.text("messages").array(messages.length);
    for (const message of messages) writeMessage(writer, message);
  }
  return writer.finish();
}

function writeMessage(writer: CborWriter, message: Message): void {
  writer
    .map(4)
    .text("streamName")
    .text(message.streamName)
    .text("sequenceNumber")
    .integer(message.sequenceNumber)
    .text("ingestTime")
    .integer(message.ingestTime)
    .text("payload")
    .bytes(message.payload);
}

/** Payloads are views of the frame. @throws {MillraceError} MALFORMED_CBOR, INVALID_REQUEST */
export function decodeReadMessagesResponse(frame: Uint8Array): ReadMessagesResponse {
  let messages: Message[] | undefined;
  const reply = readReply(frame, (reader, key) => {
    if (key !== "messages") return false;
    messages = [];
    reader.openArray(key);
    while (reader.nextItem()) messages.push(readMessage(reader));
    return true;
  });
  return messages ? { ...reply, messages } : reply;
}

function readMessage(reader: CborReader): Message {
  let streamName: string | undefined;
  let sequenceNumber = 0;
  let ingestTime = 0;
  let payload: Uint8Array | undefined;
  reader.openMap("message");
  while (reader.nextKey()) {
    const key = reader.key;
    if (key === "streamName") streamName = reader.readText(key, NAME_BYTES_MAX);
    else if (key === "sequenceNumber") sequenceNumber = Number(reader.readNumber(key));
    else if (key === "ingestTime") ingestTime = Number(reader.readNumber(key));
    else if (key === "payload") payload = reader.readBytes(key);
    else reader.skip();
  }
  if (streamName === undefined || !payload) throw invalid("a message lacks streamName or payload");
  return { streamName, sequenceNumber, ingestTime, payload };
}
