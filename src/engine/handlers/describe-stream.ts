import { Operation } from "../../wire/operation.ts";
import type { StreamDocumentRequest } from "../../wire/stream-document-layout.ts";
import type { ClientState } from "../client-state.ts";
import { answerDocument } from "../document-request.ts";
import type { EngineContext } from "../engine-context.ts";
import { describeStream } from "../stream-description.ts";

/** DescribeStream (73): all that is known of a stream, of one that is not open too. */
export async function handleDescribeStream(
  engine: EngineContext,
  client: ClientState,
  { requestId, name }: StreamDocumentRequest,
): Promise<void> {
  const entry = engine.catalog.find(name);
  let description = describeStream(engine, entry);
  if (entry.ingestLooks.isLooking) {
    await entry.ingestLooks.settled(engine.timers);
    description = describeStream(engine, entry);
  }
  const document = JSON.stringify(description);
  answerDocument(client, Operation.DescribeStream, { requestId, document });
}
