// An engine in miniature for tests of the driver: it acknowledges every batch and stores nothing. The variable LOSES says how
// it misbehaves: `newest` describes one message too few, `answer` keeps back an answer, `sequence` counts wrong.
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { WebSocketServer, type WebSocket } from "ws";
import { StatusCode } from "../../src/core/status-code.ts";
import type { MessageStreamInfo, StreamDefinition } from "../../src/core/stream-definition.ts";
import { createAppendBatchHeader, readAppendBatchHeader } from "../../src/wire/append-batch-layout.ts";
import { AppendResultWriter } from "../../src/wire/append-batch-result-layout.ts";
import {
  decodeCreateMessageStream,
  encodeCreateMessageStreamResponse,
} from "../../src/wire/create-message-stream.ts";
import {
  decodeDescribeMessageStream,
  encodeDescribeMessageStreamResponse,
} from "../../src/wire/describe-message-stream.ts";
import { decodeOpenStream, encodeOpenStreamResult } from "../../src/wire/open-stream-layout.ts";
import { Operation } from "../../src/wire/operation.ts";
import { success } from "../../src/wire/reply.ts";

const loses = process.env["LOSES"] ?? "nothing";
/** The batch, counted from 0, at which the misbehaviour shows. */
const LOST_BATCH = 5;

const server = new WebSocketServer({ host: "127.0.0.1", port: 0, perMessageDeflate: false });
server.on("connection", (webSocket) => {
  webSocket.on("message", (data) => onFrame(webSocket, data as Buffer));
});

let definition: StreamDefinition | undefined;
let nextSequence = 0;
let batchCount = 0;
const header = createAppendBatchHeader();
const results = new AppendResultWriter();

function onFrame(webSocket: WebSocket, frame: Buffer): void {
  switch (frame[0]) {
    case Operation.CreateMessageStream: {
      const request = decodeCreateMessageStream(frame);
      definition = request.definition;
      webSocket.send(encodeCreateMessageStreamResponse(success(request.requestId)));
      return;
    }
    case Operation.OpenStream: {
      const { requestId } = decodeOpenStream(frame);
      webSocket.send(
        encodeOpenStreamResult({
          requestId,
          status: StatusCode.Success,
          handle: 1,
          nextSequence,
          errorMessage: "",
        }),
      );
      return;
    }
    case Operation.AppendBatch:
      append(webSocket, frame);
      return;
    case Operation.DescribeMessageStream: {
      const { requestId } = decodeDescribeMessageStream(frame);
      webSocket.send(
        encodeDescribeMessageStreamResponse({ ...success(requestId), messageStreamInfo: describe() }),
      );
      return;
    }
    default:
      throw new Error(`operation ${frame[0] ?? "none"} is not spoken here`);
  }
}

function append(webSocket: WebSocket, frame: Buffer): void {
  readAppendBatchHeader(frame, header);
  const isLostBatch = batchCount === LOST_BATCH;
  batchCount += 1;
  if (isLostBatch && loses === "answer") return;
  if (isLostBatch && loses === "sequence") nextSequence -= 1;
  results.addSuccess(header.requestId, nextSequence);
  nextSequence += header.messageCount;
  webSocket.send(results.take());
}

function describe(): MessageStreamInfo {
  if (!definition) throw new Error("describe comes after create");
  const newestSequenceNumber = nextSequence - (loses === "newest" ? 2 : 1);
  const storageStatus = { oldestSequenceNumber: 0, newestSequenceNumber, totalBytes: 1 };
  return { definition, storageStatus, exportStatuses: [] };
}

await once(server, "listening");
const { port } = server.address() as AddressInfo;
process.stdout.write(`${JSON.stringify({ event: "ready", host: "127.0.0.1", port })}\n`);
process.once("SIGTERM", () => process.exit(0));
