import { REQUEST_ID_BYTES_MAX } from "../core/limits.ts";
import type { StreamDefinition } from "../core/stream-definition.ts";
import { CborWriter } from "./cbor-writer.ts";
import { invalid } from "./field-rules.ts";
import type { Operation } from "./operation.ts";
import { checkRequestId, readFields } from "./reply.ts";
import {
  type DefinitionCheck,
  readStreamDefinition,
  writeStreamDefinition,
} from "./stream-definition-codec.ts";

/** A request that carries a whole stream definition: create and update. */
export interface DefinitionRequest {
  readonly requestId: string;
  /** Checked, with every default filled in. */
  readonly definition: StreamDefinition;
}

export function encodeDefinitionRequest(operation: Operation, request: DefinitionRequest): Uint8Array {
  const writer = new CborWriter(operation).map(2).text("requestId").text(request.requestId);
  writeStreamDefinition(writer.text("definition"), request.definition);
  return writer.finish();
}

/** @throws {MillraceError} MALFORMED_CBOR, INVALID_REQUEST */
export function decodeDefinitionRequest(frame: Uint8Array, check: DefinitionCheck): DefinitionRequest {
  let requestId: string | undefined;
  let definition: StreamDefinition | undefined;
  readFields(frame, (reader, key) => {
    if (key === "requestId") requestId = reader.readText(key, REQUEST_ID_BYTES_MAX);
    else if (key === "definition") definition = readStreamDefinition(reader, check);
    else return false;
    return true;
  });
  if (!definition) throw invalid("definition is missing");
  return { requestId: checkRequestId(requestId), definition };
}
