import { type ListStreams, encodeListStreamsResponse } from "../../wire/list-streams.ts";
import { success } from "../../wire/reply.ts";
import type { ClientState } from "../client-state.ts";
import type { EngineContext } from "../engine-context.ts";

/** ListStreams (11): those that the client has a right on. */
export function handleListStreams(
  engine: EngineContext,
  client: ClientState,
  { requestId }: ListStreams,
): void {
  const { rights } = client.session.principal;
  const streams = engine.catalog.names.filter((name) => rights.allowsAny(name));
  client.session.send(encodeListStreamsResponse({ ...success(requestId), streams }));
}
