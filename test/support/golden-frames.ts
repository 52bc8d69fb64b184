import { readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { decodeAppendMessage, decodeAppendMessageResponse } from "../../src/wire/append-message.ts";
import { decodeConnect, decodeConnectResponse } from "../../src/wire/connect.ts";
import {
  decodeCreateMessageStream,
  decodeCreateMessageStreamResponse,
} from "../../src/wire/create-message-stream.ts";
import {
  decodeDeleteMessageStream,
  decodeDeleteMessageStreamResponse,
} from "../../src/wire/delete-message-stream.ts";
import {
  decodeDescribeMessageStream,
  decodeDescribeMessageStreamResponse,
} from "../../src/wire/describe-message-stream.ts";
import { decodeListStreams, decodeListStreamsResponse } from "../../src/wire/list-streams.ts";
import { Operation } from "../../src/wire/operation.ts";
import { decodeReadMessages, decodeReadMessagesResponse } from "../../src/wire/read-messages.ts";
import {
  decodeUpdateMessageStream,
  decodeUpdateMessageStreamResponse,
} from "../../src/wire/update-message-stream.ts";

const directory = path.join(import.meta.dirname, "..", "..", "..", "test", "golden", "vectors");

/** One frame that an unmodified official client sent or accepted. */
export interface GoldenFrame {
  /** File name without `.hex`, such as `java-sdk-1.1.0.append-text`. */
  readonly name: string;
  /** Length, operation, CBOR: as it stood on the wire. */
  readonly wire: Uint8Array;
  /** Operation, CBOR. */
  readonly frame: Uint8Array;
}

export function goldenBytes(name: string): Uint8Array {
  const hex = readFileSync(path.join(directory, `${name}.hex`), "utf8").replace(/\s/g, "");
  return new Uint8Array(Buffer.from(hex, "hex"));
}

export function goldenFrame(name: string): Uint8Array {
  return goldenBytes(name).subarray(4);
}

/** Every captured frame; the captures of whole streams are left out. */
export function goldenFrames(): GoldenFrame[] {
  return readdirSync(directory)
    .filter((file) => file.endsWith(".hex") && !file.includes("whole-stream"))
    .map((file) => {
      const name = file.slice(0, -".hex".length);
      const wire = goldenBytes(name);
      return { name, wire, frame: wire.subarray(4) };
    });
}

/** The rows of the captures' own index whose decoded content stands there whole: name to what was decoded independently. */
export function goldenIndex(): Map<string, Record<string, unknown>> {
  const index = new Map<string, Record<string, unknown>>();
  for (const line of readFileSync(path.join(directory, "README.md"), "utf8").split("\n")) {
    const match = /^\| (\S+)\.hex \|.*\| `(\{.*\})` \|$/.exec(line);
    if (match) index.set(match[1]!, JSON.parse(match[2]!) as Record<string, unknown>);
  }
  return index;
}

/** The decoder of each operation of the official protocol. */
export const officialDecoders: Readonly<Record<number, (frame: Uint8Array) => unknown>> = {
  [Operation.Connect]: decodeConnect,
  [Operation.ConnectResponse]: decodeConnectResponse,
  [Operation.CreateMessageStream]: decodeCreateMessageStream,
  [Operation.CreateMessageStreamResponse]: decodeCreateMessageStreamResponse,
  [Operation.UpdateMessageStream]: decodeUpdateMessageStream,
  [Operation.UpdateMessageStreamResponse]: decodeUpdateMessageStreamResponse,
  [Operation.DeleteMessageStream]: decodeDeleteMessageStream,
  [Operation.DeleteMessageStreamResponse]: decodeDeleteMessageStreamResponse,
  [Operation.AppendMessage]: decodeAppendMessage,
  [Operation.AppendMessageResponse]: decodeAppendMessageResponse,
  [Operation.ReadMessages]: decodeReadMessages,
  [Operation.ReadMessagesResponse]: decodeReadMessagesResponse,
  [Operation.ListStreams]: decodeListStreams,
  [Operation.ListStreamsResponse]: decodeListStreamsResponse,
  [Operation.DescribeMessageStream]: decodeDescribeMessageStream,
  [Operation.DescribeMessageStreamResponse]: decodeDescribeMessageStreamResponse,
};
