import { StrategyOnFull } from "../../core/stream-definition.ts";
import { changeStreamOptions } from "../../core/stream-options.ts";
import { Operation } from "../../wire/operation.ts";
import { checkUpdatedDefinition } from "../../wire/stream-definition-codec.ts";
import type { StreamDocumentRequest } from "../../wire/stream-document-layout.ts";
import { inTime } from "../answer-deadline.ts";
import type { ClientState } from "../client-state.ts";
import { answerDocument, parseWish } from "../document-request.ts";
import type { EngineContext } from "../engine-context.ts";
import { fitExporterOptions, wishedExporters } from "../exporter-options-fit.ts";
import { changeStream } from "../stream-change.ts";

/** ConfigureStream (75): changes options of ours, the definition, or both at once; answered when they are durable and hold. */
export async function handleConfigureStream(
  engine: EngineContext,
  client: ClientState,
  { requestId, name, document }: StreamDocumentRequest,
): Promise<void> {
  const wish = parseWish(document);
  const fields = { strategyOnFull: StrategyOnFull.RejectNewData, ...wish.definition, name };
  const next = wish.definition === undefined ? undefined : checkUpdatedDefinition(fields);
  const entry = engine.catalog.get(name);
  const configure = async (): Promise<void> => {
    await changeStream(engine, entry, ({ definition, options }) => {
      const change = { definition: next ?? definition, options: changeStreamOptions(options, wish.options) };
      return fitExporterOptions(change, wishedExporters(wish.options));
    });
    if ("setAside" in wish.options) await engine.companions.configure(name, entry.options);
  };
  await inTime(engine.timers, `The configuration of stream "${name}"`, configure());
  answerDocument(client, Operation.ConfigureStream, { requestId, document: "" });
}
