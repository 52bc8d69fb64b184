import type { IncomingMessage } from "node:http";

const LOOPBACK_HOSTS = ["localhost", "127.0.0.1", "[::1]"];
/** A name, an IPv4 address or an IPv6 address in brackets, then perhaps a port. */
const HOST_HEADER = /^(\[[0-9a-f:.]+\]|[^:[\]/@\s]+)(:\d{1,5})?$/i;

/**
 * Keeps web pages out. A page of any site may send requests to 127.0.0.1; it cannot hide its `Origin`, and a page whose
 * name was made to resolve to 127.0.0.1 cannot hide that name from `Host`.
 */
export class RequestGuard {
  readonly #hosts: ReadonlySet<string>;
  readonly #origins: ReadonlySet<string>;

  /** Hosts without port, IPv6 in brackets; origins as browsers send them: `https://name:port`. */
  constructor(options: { allowedHosts: readonly string[]; allowedOrigins: readonly string[] }) {
    this.#hosts = new Set([...LOOPBACK_HOSTS, ...options.allowedHosts].map((host) => host.toLowerCase()));
    this.#origins = new Set(options.allowedOrigins.map((origin) => origin.toLowerCase()));
  }

  /** What is wrong with a request; undefined if it may pass. */
  refusal(request: IncomingMessage): "host" | "origin" | undefined {
    const host = HOST_HEADER.exec(request.headers.host ?? "")?.[1];
    if (host === undefined || !this.#hosts.has(host.toLowerCase())) return "host";
    const { origin } = request.headers;
    // `Origin: null` (a sandboxed page, a local file) is an origin like any other.
    if (origin !== undefined && !this.#origins.has(origin.toLowerCase())) return "origin";
    if (origin === undefined && isEmbedded(request)) return "origin";
    return undefined;
  }
}

/** An image, a script or a frame of another site comes without `Origin`; browsers say so here. A link that a person follows is none. */
function isEmbedded({ headers }: IncomingMessage): boolean {
  const site = headers["sec-fetch-site"];
  return (site === "cross-site" || site === "same-site") && headers["sec-fetch-dest"] !== "document";
}
