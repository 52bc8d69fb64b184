import { createHash } from "node:crypto";

const SUFFIX = ".set-aside";
const NAME_CHARACTERS_MAX = 255;
const DIGEST_CHARACTERS = 8;

/**
 * The `attempt`th name, from 1 on, for a stream that holds what was set aside of another. A name that would be too long is cut,
 * and has a digest of all of it, so that it is no other stream's.
 */
export function companionName(streamName: string, attempt: number): string {
  const suffix = attempt === 1 ? SUFFIX : `${SUFFIX}-${attempt}`;
  const room = NAME_CHARACTERS_MAX - suffix.length;
  if (streamName.length <= room) return `${streamName}${suffix}`;
  const digest = createHash("sha256").update(streamName).digest("hex").slice(0, DIGEST_CHARACTERS);
  return `${streamName.slice(0, room - DIGEST_CHARACTERS - 1)}-${digest}${suffix}`;
}
