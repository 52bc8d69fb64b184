import type { DefinitionRequest } from "../../wire/definition-request.ts";
import { success } from "../../wire/reply.ts";
import { encodeUpdateMessageStreamResponse } from "../../wire/update-message-stream.ts";
import { inTime } from "../answer-deadline.ts";
import type { ClientState } from "../client-state.ts";
import type { EngineContext } from "../engine-context.ts";
import { fitExporterOptions } from "../exporter-options-fit.ts";
import { changeStream } from "../stream-change.ts";

/** UpdateMessageStream (15): a complete definition, answered when it is durable and holds (PROTOCOL 5). */
export async function handleUpdateMessageStream(
  engine: EngineContext,
  client: ClientState,
  { requestId, definition }: DefinitionRequest,
): Promise<void> {
  const entry = engine.catalog.get(definition.name);
  const change = changeStream(engine, entry, ({ options }) => fitExporterOptions({ definition, options }));
  await inTime(engine.timers, `The update of stream "${definition.name}"`, change);
  client.session.send(encodeUpdateMessageStreamResponse(success(requestId)));
}
