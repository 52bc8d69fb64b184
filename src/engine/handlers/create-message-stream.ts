import { streamOptionsDefault } from "../../core/stream-options.ts";
import { encodeCreateMessageStreamResponse } from "../../wire/create-message-stream.ts";
import type { DefinitionRequest } from "../../wire/definition-request.ts";
import { success } from "../../wire/reply.ts";
import type { ClientState } from "../client-state.ts";
import type { EngineContext } from "../engine-context.ts";
import { createStream } from "../stream-creation.ts";

/** CreateMessageStream (2): answered when the definition is durable. */
export async function handleCreateMessageStream(
  engine: EngineContext,
  client: ClientState,
  { requestId, definition }: DefinitionRequest,
): Promise<void> {
  await createStream(engine, { definition, options: streamOptionsDefault });
  client.session.send(encodeCreateMessageStreamResponse(success(requestId)));
}
