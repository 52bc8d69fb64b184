import type { MillraceClient } from "../../src/client/millrace-client.ts";
import { MillraceError } from "../../src/core/errors.ts";

/** The messages from `from` on, of which the first may be a later one. None when there is nothing but a gap up to the end. */
export async function readSome(
  client: MillraceClient,
  name: string,
  { from, countMax }: { readonly from: number; readonly countMax: number },
): ReturnType<MillraceClient["readMessages"]> {
  try {
    return await client.readMessages(name, {
      desiredStartSequenceNumber: from,
      minMessageCount: 1,
      maxMessageCount: countMax,
    });
  } catch (error) {
    if (error instanceof MillraceError && error.code === "NOT_ENOUGH_MESSAGES") return [];
    throw error;
  }
}
