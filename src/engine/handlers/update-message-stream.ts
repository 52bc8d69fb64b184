import { MillraceError } from "../../core/errors.ts";
import { decodeUpdateMessageStream } from "../../wire/update-message-stream.ts";
import type { EngineContext } from "../engine-context.ts";

/** UpdateMessageStream (15): checked, then refused: this version cannot change a stream in place. */
export function handleUpdateMessageStream(engine: EngineContext, frame: Uint8Array): never {
  const { definition } = decodeUpdateMessageStream(frame);
  const { name } = engine.catalog.get(definition.name).definition;
  const text = `Cannot update stream "${name}": this version of Millrace does not change streams in place yet`;
  throw new MillraceError("UPDATE_FAILED", text);
}
