import { decodeListStreams, encodeListStreamsResponse } from "../../wire/list-streams.ts";
import { success } from "../../wire/reply.ts";
import type { ClientState } from "../client-state.ts";
import type { EngineContext } from "../engine-context.ts";

/** ListStreams (11). */
export function handleListStreams(engine: EngineContext, client: ClientState, frame: Uint8Array): void {
  const { requestId } = decodeListStreams(frame);
  client.session.send(encodeListStreamsResponse({ ...success(requestId), streams: engine.catalog.names }));
}
