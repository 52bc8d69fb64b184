import { MillraceError } from "../core/errors.ts";
import { isJsonObject, type JsonObject } from "../core/json-object.ts";
import { StatusCode } from "../core/status-code.ts";
import { failureText } from "../wire/reply-status.ts";
import {
  type StreamDocumentOperation,
  type StreamDocumentRequest,
  encodeStreamDocumentResult,
} from "../wire/stream-document-layout.ts";
import type { ClientState } from "./client-state.ts";

/** Answers a request about a stream whose success may carry a JSON document; empty for none. */
export function answerDocument(
  client: ClientState,
  operation: StreamDocumentOperation,
  { requestId, document }: Pick<StreamDocumentRequest, "requestId" | "document">,
): void {
  const result = { requestId, status: StatusCode.Success, errorMessage: "", document };
  client.session.send(encodeStreamDocumentResult(operation, result));
}

/** What answers such a request that failed. */
export function documentRefusal(
  operation: StreamDocumentOperation,
): (client: ClientState, request: StreamDocumentRequest, error: MillraceError) => void {
  return (client, { requestId }, error) => {
    const { ownStatus: status } = error;
    const refusal = { requestId, status, errorMessage: failureText(error), document: "" };
    client.session.send(encodeStreamDocumentResult(operation, refusal));
  };
}

/** What a client wants of a stream: not checked beyond being objects. */
export interface StreamWish {
  /** The protocol's fields without the name. */
  readonly definition: object | undefined;
  readonly options: object;
}

/** Reads the document that creates or configures a stream. @throws {MillraceError} INVALID_REQUEST */
export function parseWish(document: string): StreamWish {
  const { definition, options = {}, ...others } = parseDocument(document);
  const [other] = Object.keys(others);
  if (other !== undefined)
    throw unreadable(`${JSON.stringify(other)} is not known, only definition and options`);
  if (definition !== undefined && !isJsonObject(definition)) throw unreadable("definition is not an object");
  if (!isJsonObject(options)) throw unreadable("options is not an object");
  return { definition, options };
}

/** @throws {MillraceError} INVALID_REQUEST for what is no JSON object */
export function parseDocument(document: string): JsonObject {
  let value: unknown;
  try {
    value = JSON.parse(document);
  } catch (cause) {
    throw unreadable(cause instanceof Error ? cause.message : String(cause), { cause });
  }
  if (!isJsonObject(value)) throw unreadable("it is not a JSON object");
  return value;
}

function unreadable(what: string, options?: ErrorOptions): MillraceError {
  return new MillraceError("INVALID_REQUEST", `Cannot read the document: ${what}`, options);
}
