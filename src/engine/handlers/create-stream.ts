import { StrategyOnFull } from "../../core/stream-definition.ts";
import { changeStreamOptions, streamOptionsDefault } from "../../core/stream-options.ts";
import { Operation } from "../../wire/operation.ts";
import { checkStreamDefinition } from "../../wire/stream-definition-codec.ts";
import type { StreamDocumentRequest } from "../../wire/stream-document-layout.ts";
import type { ClientState } from "../client-state.ts";
import { answerDocument, parseWish } from "../document-request.ts";
import type { EngineContext } from "../engine-context.ts";
import { fitExporterOptions, wishedExporters } from "../exporter-options-fit.ts";
import { createStream } from "../stream-creation.ts";

/** CreateStream (77): a stream with options of ours from the first moment, answered when both are durable. */
export async function handleCreateStream(
  engine: EngineContext,
  client: ClientState,
  { requestId, name, document }: StreamDocumentRequest,
): Promise<void> {
  const wish = parseWish(document);
  const fields = { strategyOnFull: StrategyOnFull.RejectNewData, ...wish.definition, name };
  const options = changeStreamOptions(streamOptionsDefault, wish.options);
  const wanted = { definition: checkStreamDefinition(fields), options };
  await createStream(engine, fitExporterOptions(wanted, wishedExporters(wish.options)));
  answerDocument(client, Operation.CreateStream, { requestId, document: "" });
}
