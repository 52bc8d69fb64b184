import { asMillraceError } from "../../core/errors.ts";
import { StatusCode } from "../../core/status-code.ts";
import { decodeOpenStream, encodeOpenStreamResult } from "../../wire/open-stream-layout.ts";
import { failureText } from "../../wire/reply-status.ts";
import type { ClientState } from "../client-state.ts";
import type { EngineContext } from "../engine-context.ts";

/** OpenStream (64): a name to a number, so that appends carry four bytes instead of a name. */
export function handleOpenStream(engine: EngineContext, client: ClientState, frame: Uint8Array): void {
  const { requestId, name } = decodeOpenStream(frame);
  try {
    const entry = engine.catalog.get(name);
    const handle = client.openHandle(entry);
    const { nextSequence } = entry.progress;
    const result = { requestId, status: StatusCode.Success, handle, nextSequence, errorMessage: "" };
    client.session.send(encodeOpenStreamResult(result));
  } catch (thrown) {
    const error = asMillraceError(thrown);
    const failure = {
      requestId,
      status: error.ownStatus,
      handle: 0,
      nextSequence: 0,
      errorMessage: failureText(error),
    };
    client.session.send(encodeOpenStreamResult(failure));
  }
}
