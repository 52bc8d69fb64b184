/** Who is at the other end of a connection, as far as a token tells. */
export interface Principal {
  readonly name: string;
}

export type Verdict =
  | { readonly isAccepted: true; readonly principal: Principal }
  /** The refusal is to be sent `delayMs` later, so that guessing is slow. */
  | { readonly isAccepted: false; readonly delayMs: number };

/** Decides who may come in. Called once for a connection or an HTTP request, with the token it brought. */
export interface Authenticator {
  /** `undefined` and `""` alike mean that no token was sent: the Java client sends an empty one. */
  authenticate(token: string | undefined): Verdict;
  /** Refusals since the start. */
  readonly failureCount: number;
}

const anyone: Verdict = { isAccepted: true, principal: { name: "anyone" } };

/** Lets every local process in: `STREAM_MANAGER_AUTHENTICATE_CLIENT=false`. */
export const openAuthenticator: Authenticator = { authenticate: () => anyone, failureCount: 0 };
