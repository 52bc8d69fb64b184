import { type MillraceError, asMillraceError } from "../core/errors.ts";
import { decodeAppendMessage } from "../wire/append-message.ts";
import { decodeCreateMessageStream } from "../wire/create-message-stream.ts";
import { decodeDeleteMessageStream } from "../wire/delete-message-stream.ts";
import { decodeDescribeMessageStream } from "../wire/describe-message-stream.ts";
import { decodeListStreams } from "../wire/list-streams.ts";
import { decodeOpenStream } from "../wire/open-stream-layout.ts";
import { Operation } from "../wire/operation.ts";
import { decodeReadMessages } from "../wire/read-messages.ts";
import { findRequestId } from "../wire/reply.ts";
import { decodeStreamDocumentRequest } from "../wire/stream-document-layout.ts";
import { decodeCredit, decodeSubscribe, decodeUnsubscribe } from "../wire/subscribe-layout.ts";
import { encodeUnknownOperationError } from "../wire/unknown-operation.ts";
import { decodeUpdateMessageStream } from "../wire/update-message-stream.ts";
import type { NeededRight } from "./access-check.ts";
import type { ClientState } from "./client-state.ts";
import { documentRefusal } from "./document-request.ts";
import type { EngineContext } from "./engine-context.ts";
import { handleAppendMessage } from "./handlers/append-message.ts";
import { handleCommandExports } from "./handlers/command-exports.ts";
import { handleConfigureStream } from "./handlers/configure-stream.ts";
import { handleCreateMessageStream } from "./handlers/create-message-stream.ts";
import { handleCreateStream } from "./handlers/create-stream.ts";
import { handleDeleteMessageStream } from "./handlers/delete-message-stream.ts";
import { handleDescribeMessageStream } from "./handlers/describe-message-stream.ts";
import { handleDescribeStream } from "./handlers/describe-stream.ts";
import { handleListStreams } from "./handlers/list-streams.ts";
import { handleOpenStream, refuseOpenStream } from "./handlers/open-stream.ts";
import { handleReadMessages } from "./handlers/read-messages.ts";
import { handleCredit, handleSubscribe, handleUnsubscribe, refuseSubscribe } from "./handlers/subscribe.ts";
import { handleUpdateMessageStream } from "./handlers/update-message-stream.ts";

type Runner = (engine: EngineContext, client: ClientState, frame: Uint8Array) => Promise<void> | undefined;

/** How an operation is answered. No handler runs before the client was found to have the right that its row names. */
interface OperationRow<T> {
  /** @throws {MillraceError} for what cannot be read */
  readonly decode: (frame: Uint8Array) => T;
  /** What is needed on which stream; `none` where the answer holds nothing but what the client may see anyway. */
  readonly needs:
    "none" | readonly [right: NeededRight, streamOf: (request: T, client: ClientState) => string];
  readonly handle: (engine: EngineContext, client: ClientState, request: T) => Promise<void> | void;
  /** Answers a failure of one of our own operations; those of the protocol have one form for all. */
  readonly refuse?: (client: ClientState, request: T, error: MillraceError) => void;
}

const nameOf = ({ name }: { readonly name: string }): string => name;
const definedName = ({ definition }: { readonly definition: { readonly name: string } }): string =>
  definition.name;

/** Requests of clients by operation. Appends of batches, the hot path, are not among them: they ask `ClientState.stream` for their right. */
const runners: Readonly<Partial<Record<number, Runner>>> = {
  [Operation.AppendMessage]: runner({
    decode: decodeAppendMessage,
    needs: ["append", nameOf],
    handle: handleAppendMessage,
  }),
  [Operation.ReadMessages]: runner({
    decode: decodeReadMessages,
    needs: ["read", ({ streamName }) => streamName],
    handle: handleReadMessages,
  }),
  [Operation.CreateMessageStream]: runner({
    decode: decodeCreateMessageStream,
    needs: ["manage", definedName],
    handle: handleCreateMessageStream,
  }),
  [Operation.DeleteMessageStream]: runner({
    decode: decodeDeleteMessageStream,
    needs: ["manage", nameOf],
    handle: handleDeleteMessageStream,
  }),
  [Operation.DescribeMessageStream]: runner({
    decode: decodeDescribeMessageStream,
    needs: ["any", nameOf],
    handle: handleDescribeMessageStream,
  }),
  [Operation.ListStreams]: runner({ decode: decodeListStreams, needs: "none", handle: handleListStreams }),
  [Operation.UpdateMessageStream]: runner({
    decode: decodeUpdateMessageStream,
    needs: ["manage", definedName],
    handle: handleUpdateMessageStream,
  }),
  [Operation.OpenStream]: runner({
    decode: decodeOpenStream,
    needs: ["any", nameOf],
    handle: handleOpenStream,
    refuse: refuseOpenStream,
  }),
  [Operation.DescribeStream]: runner({
    decode: decodeStreamDocumentRequest,
    needs: ["any", nameOf],
    handle: handleDescribeStream,
    refuse: documentRefusal(Operation.DescribeStream),
  }),
  [Operation.ConfigureStream]: runner({
    decode: decodeStreamDocumentRequest,
    needs: ["manage", nameOf],
    handle: handleConfigureStream,
    refuse: documentRefusal(Operation.ConfigureStream),
  }),
  [Operation.CreateStream]: runner({
    decode: decodeStreamDocumentRequest,
    needs: ["manage", nameOf],
    handle: handleCreateStream,
    refuse: documentRefusal(Operation.CreateStream),
  }),
  [Operation.CommandExports]: runner({
    decode: decodeStreamDocumentRequest,
    needs: ["manage", nameOf],
    handle: handleCommandExports,
    refuse: documentRefusal(Operation.CommandExports),
  }),
  [Operation.Subscribe]: runner({
    decode: decodeSubscribe,
    needs: ["read", ({ handle }, client) => client.stream(handle, "read").definition.name],
    handle: handleSubscribe,
    refuse: refuseSubscribe,
  }),
  // About subscriptions of this connection, which were allowed.
  [Operation.Credit]: runner({ decode: decodeCredit, needs: "none", handle: handleCredit }),
  [Operation.Unsubscribe]: runner({
    decode: decodeUnsubscribe,
    needs: "none",
    handle: handleUnsubscribe,
  }),
};

/** Answers a request; appends of batches are not among them. @throws {MillraceError} */
export function dispatch(
  engine: EngineContext,
  client: ClientState,
  { operation, frame }: { readonly operation: number; readonly frame: Uint8Array },
): Promise<void> | undefined {
  const run = runners[operation];
  if (run !== undefined) return run(engine, client, frame);
  answerUnknown(client, operation, frame);
  return undefined;
}

function runner<T>({ decode, needs, handle, refuse }: OperationRow<T>): Runner {
  const run = (engine: EngineContext, client: ClientState, request: T): Promise<void> | undefined => {
    if (needs !== "none") {
      const [right, streamOf] = needs;
      client.assertAllowed(right, streamOf(request, client));
    }
    return handle(engine, client, request) ?? undefined;
  };
  if (refuse === undefined) return (engine, client, frame) => run(engine, client, decode(frame));
  return (engine, client, frame) => {
    const request = decode(frame);
    const fail = (thrown: unknown): void => {
      const error = asMillraceError(thrown);
      if (error.code === "INTERNAL") engine.noteFailedRequest(frame[0] ?? Operation.Unknown, thrown);
      refuse(client, request, error);
    };
    try {
      return run(engine, client, request)?.catch(fail);
    } catch (thrown) {
      fail(thrown);
      return undefined;
    }
  };
}

function answerUnknown(client: ClientState, operation: number, frame: Uint8Array): void {
  // PROTOCOL 1.4 asks it of every number: what is not one of our layouts may be a later protocol's map.
  const requestId = findRequestId(frame);
  if (requestId === undefined) {
    client.session.close(`operation ${operation} is not known`);
    return;
  }
  client.session.send(encodeUnknownOperationError({ requestId, operation }));
}
