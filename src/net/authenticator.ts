import { type Principal, fullRights } from "../core/access-rights.ts";

export type Verdict =
  | { readonly isAccepted: true; readonly principal: Principal }
  /** The refusal is to be sent `delayMs` later, so that guessing is slow. */
  | { readonly isAccepted: false; readonly delayMs: number; readonly reason?: string };

/** Decides who may come in. Called once for a connection or an HTTP request, with the token it brought. */
export interface Authenticator {
  /** `undefined` and `""` alike mean that no token was sent: the Java client sends an empty one. */
  authenticate(token: string | undefined): Verdict;
  /** Whether one that was let in would still be, and be allowed the same. */
  isCurrent(principal: Principal): boolean;
  /** Calls when principals have ceased to be current. @returns what ends the calls */
  onRevoked(listener: () => void): () => void;
  /** Refusals since the start. */
  readonly failureCount: number;
}

const anyone: Verdict = { isAccepted: true, principal: { name: "anyone", rights: fullRights } };

/** Lets everybody in who reaches it: `STREAM_MANAGER_AUTHENTICATE_CLIENT=false`. */
export const openAuthenticator: Authenticator = {
  authenticate: () => anyone,
  isCurrent: () => true,
  onRevoked: () => () => undefined,
  failureCount: 0,
};

/** Refuses everybody for another reason than the token. */
export function refusingAuthenticator(reason: string): Authenticator {
  const verdict: Verdict = { isAccepted: false, delayMs: 0, reason };
  return { ...openAuthenticator, authenticate: () => verdict };
}
