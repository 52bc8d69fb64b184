import { STATUS_CODES, type IncomingHttpHeaders } from "node:http";
import { systemCode } from "../../core/errors.ts";
import { EXPORT_BACKOFF_MS_MAX } from "../../core/limits.ts";
import type { SendFailure, SendOutcome } from "./destination.ts";

type Means = Pick<SendFailure, "scope" | "pace"> | "refused";

const busy = { scope: "endpoint", pace: "backoff" } as const;
const elsewhere = { scope: "exporter", pace: "backoff" } as const;

/** What a status means that is no success; a row a status that is not as its hundred says. */
const statuses: ReadonlyMap<number, Means> = new Map<number, Means>([
  [400, "refused"],
  [401, { scope: "endpoint", pace: "slow" }],
  [403, { scope: "exporter", pace: "slow" }],
  [407, { scope: "endpoint", pace: "slow" }],
  [408, busy],
  [413, "refused"],
  [415, "refused"],
  [422, "refused"],
  [425, busy],
  [429, busy],
]);

/** What the answer to a POST means for the exporter. No error names more of a URL than its host: its path may hold a secret. */
export function judgeAnswer(
  { status, headers }: { readonly status: number; readonly headers: IncomingHttpHeaders },
  { host, nowMs }: { readonly host: string; readonly nowMs: number },
): SendOutcome {
  if (status >= 200 && status < 300) return { kind: "answered", failed: [], error: "" };
  const name = STATUS_CODES[status];
  const error = `${host} answered ${status}${name === undefined ? "" : ` ${name}`}${redirection(status, headers)}`;
  const means = statuses.get(status) ?? (status >= 500 ? busy : elsewhere);
  if (means === "refused") return { kind: "refused", error };
  const retryAfterMs =
    status === 429 || status === 503 ? waitAskedFor(headers["retry-after"], nowMs) : undefined;
  const wait = retryAfterMs === undefined ? {} : { retryAfterMs };
  return { kind: "failed", ...means, timedOut: false, ...wait, error };
}

/** What a POST that was not answered means. */
export function judgeFailure(thrown: unknown, host: string): SendFailure {
  const timedOut = thrown instanceof Error && thrown.name === "TimeoutError";
  return { kind: "failed", ...busy, timedOut, error: `${host}: ${wordsOf(thrown)}` };
}

function wordsOf(thrown: unknown): string {
  const code = systemCode(thrown);
  // Where each address of a name failed, the first says why.
  if (thrown instanceof AggregateError && thrown.message === "") return wordsOf(thrown.errors[0]);
  const text = thrown instanceof Error ? thrown.message : "the request failed";
  return code === undefined || text.includes(code) ? text : `${text} (${code})`;
}

function redirection(status: number, { location }: IncomingHttpHeaders): string {
  if (status < 300 || status >= 400 || location === undefined) return "";
  const target = URL.canParse(location) ? new URL(location).host : "";
  return target === "" ? "; a redirect is not followed" : `; a redirect, to ${target}, is not followed`;
}

/** The seconds, or the date, of a Retry-After (RFC 9110, 10.2.3) in milliseconds, at most those of the longest backoff. */
function waitAskedFor(retryAfter: string | undefined, nowMs: number): number | undefined {
  if (retryAfter === undefined) return undefined;
  const text = retryAfter.trim();
  const ms = /^\d+$/.test(text) ? Number(text) * 1000 : Date.parse(text) - nowMs;
  return Number.isNaN(ms) ? undefined : Math.min(EXPORT_BACKOFF_MS_MAX, Math.max(0, ms));
}
