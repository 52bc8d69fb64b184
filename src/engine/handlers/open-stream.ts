import type { MillraceError } from "../../core/errors.ts";
import { StatusCode } from "../../core/status-code.ts";
import { type OpenStream, encodeOpenStreamResult } from "../../wire/open-stream-layout.ts";
import { failureText } from "../../wire/reply-status.ts";
import type { ClientState } from "../client-state.ts";
import type { EngineContext } from "../engine-context.ts";

/** OpenStream (64): a name to a number, so that appends carry four bytes instead of a name. */
export function handleOpenStream(
  engine: EngineContext,
  client: ClientState,
  { requestId, name }: OpenStream,
): void {
  const entry = engine.catalog.get(name);
  const handle = client.openHandle(entry);
  const { nextSequence } = entry.progress;
  const result = { requestId, status: StatusCode.Success, handle, nextSequence, errorMessage: "" };
  client.session.send(encodeOpenStreamResult(result));
}

export function refuseOpenStream(client: ClientState, { requestId }: OpenStream, error: MillraceError): void {
  const { ownStatus: status } = error;
  const failure = { requestId, status, handle: 0, nextSequence: 0, errorMessage: failureText(error) };
  client.session.send(encodeOpenStreamResult(failure));
}
