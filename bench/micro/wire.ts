import { StatusCode } from "../../src/core/status-code.ts";
import {
  createAppendBatchHeader,
  encodeAppendBatch,
  readAppendBatchHeader,
} from "../../src/wire/append-batch-layout.ts";
import { AppendResultWriter, decodeAppendBatchResult } from "../../src/wire/append-batch-result-layout.ts";
import {
  decodeAppendMessage,
  encodeAppendMessage,
  encodeAppendMessageResponse,
} from "../../src/wire/append-message.ts";
import { createInferenceDataSet } from "../data-set.ts";
import { microBench, type MicroCase } from "./micro-bench.ts";

const FRAME_COUNT = 1000;
const REQUEST_ID = "3f0e6f7c-7f0e-4b62-9b3c-0c9b9a3a5b10";

export const wireBench = microBench("wire", () => [
  readHeaderCase(),
  encodeBatchCase(),
  resultsCase(),
  decodeAppendMessageCase(),
  encodeResponseCase(),
]);

function readHeaderCase(): MicroCase {
  const { messages } = createInferenceDataSet(FRAME_COUNT);
  const frames = messages.map((message, requestId) =>
    encodeAppendBatch({ handle: 1, requestId, messages: [message] }),
  );
  const header = createAppendBatchHeader();
  return {
    name: "read the header of an AppendBatch of one message",
    operationCount: FRAME_COUNT,
    bytesPerOperation: meanBytes(frames),
    run: () => {
      let sum = 0;
      for (const frame of frames) {
        readAppendBatchHeader(frame, header);
        sum += header.requestId + header.rawSizeBytes + header.messagesAt;
      }
      return sum;
    },
  };
}

function encodeBatchCase(): MicroCase {
  const { messages } = createInferenceDataSet(400);
  const sizeBytes = encodeAppendBatch({ handle: 1, requestId: 1, messages }).length;
  return {
    name: "encode an AppendBatch of 400 messages",
    operationCount: 10,
    bytesPerOperation: sizeBytes,
    run: () => {
      let sum = 0;
      for (let requestId = 0; requestId < 10; requestId++) {
        const frame = encodeAppendBatch({ handle: 1, requestId, messages });
        sum += frame.length + frame[8]! + frame[frame.length - 1]!;
      }
      return sum;
    },
  };
}

function resultsCase(): MicroCase {
  const writer = new AppendResultWriter();
  return {
    name: "write and decode one of 1000 append results",
    operationCount: FRAME_COUNT,
    bytesPerOperation: 16,
    run: () => {
      for (let requestId = 0; requestId < FRAME_COUNT; requestId++) {
        writer.addSuccess(requestId, requestId * 400);
      }
      let sum = 0;
      decodeAppendBatchResult(writer.take(), (requestId, status, firstSequence) => {
        sum += requestId + status + firstSequence;
      });
      return sum;
    },
  };
}

function decodeAppendMessageCase(): MicroCase {
  const { messages } = createInferenceDataSet(FRAME_COUNT);
  const frames = messages.map((payload) =>
    encodeAppendMessage({ requestId: REQUEST_ID, name: "inferences", payload }),
  );
  return {
    name: "decode an AppendMessage of 160 B",
    operationCount: FRAME_COUNT,
    bytesPerOperation: meanBytes(frames),
    run: () => {
      let sum = 0;
      for (const frame of frames) {
        const { requestId, name, payload } = decodeAppendMessage(frame);
        sum += requestId.length + name.length + payload.length + payload[0]!;
      }
      return sum;
    },
  };
}

function encodeResponseCase(): MicroCase {
  const responseBytes = encodeAppendMessageResponse({
    requestId: REQUEST_ID,
    status: StatusCode.Success,
    errorMessage: "",
    sequenceNumber: FRAME_COUNT,
  }).length;
  return {
    name: "encode an AppendMessageResponse",
    operationCount: FRAME_COUNT,
    bytesPerOperation: responseBytes,
    run: () => {
      let sum = 0;
      for (let sequenceNumber = 0; sequenceNumber < FRAME_COUNT; sequenceNumber++) {
        const frame = encodeAppendMessageResponse({
          requestId: REQUEST_ID,
          status: StatusCode.Success,
          errorMessage: "",
          sequenceNumber,
        });
        sum += frame.length + frame[frame.length - 1]!;
      }
      return sum;
    },
  };
}

function meanBytes(frames: readonly Uint8Array[]): number {
  return frames.reduce((sum, frame) => sum + frame.length, 0) / frames.length;
}
