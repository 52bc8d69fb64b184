import type { MillraceError } from "../core/errors.ts";

export interface ClientOptions {
  /**
   * `ws://127.0.0.1:8088` by default; the path is the engine's own. `wss://` for TLS; in Node.js also `ws+unix:///path/of/socket`.
   */
  readonly url?: string;
  readonly token?: string;
  /**
   * PEM of the authorities to trust for `wss://`, instead of those that Node.js knows (and `NODE_EXTRA_CA_CERTS` adds to). Not in
   * browsers, which have their own.
   */
  readonly authorities?: string;
  /** Told of each broken connection, before the client makes a new one. */
  readonly onDisconnected?: (error: MillraceError) => void;
}
