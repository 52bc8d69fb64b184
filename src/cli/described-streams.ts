import type { MillraceClient } from "../client/millrace-client.ts";
import { MillraceError } from "../core/errors.ts";
import type { StreamDescription } from "../core/stream-description.ts";

/** Of all streams, sorted. */
export async function streamNames(client: MillraceClient): Promise<string[]> {
  return [...(await client.listStreams())].sort();
}

/** Streams by name: the one that is named, or all; those that were deleted meanwhile are not among them. */
export async function describedStreams(
  client: MillraceClient,
  name: string | undefined,
): Promise<StreamDescription[]> {
  if (name !== undefined) return [await client.describeStream(name)];
  const streams: StreamDescription[] = [];
  for (const one of await streamNames(client)) {
    try {
      streams.push(await client.describeStream(one));
    } catch (thrown) {
      if (!(thrown instanceof MillraceError) || thrown.code !== "STREAM_NOT_FOUND") throw thrown;
    }
  }
  return streams;
}
