import { CLIENT_BACKOFF_MS_MAX, CLIENT_BACKOFF_MS_MIN } from "../core/limits.ts";

/**
 * How long to wait before try number `attempt` (0 is the first): full jitter over a range that doubles, so that the clients of
 * one engine do not come back all at once. `fraction` is in [0, 1).
 */
export function backoffMs(attempt: number, fraction: number): number {
  const rangeMs = Math.min(CLIENT_BACKOFF_MS_MAX, CLIENT_BACKOFF_MS_MIN * 2 ** attempt);
  return CLIENT_BACKOFF_MS_MIN / 2 + fraction * rangeMs;
}
