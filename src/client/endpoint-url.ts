import { MillraceError } from "../core/errors.ts";

const WEBSOCKET_PATH = "/v1/ws";

/**
 * The engine's WebSocket at `url`. In a URL of a Unix socket the path within the engine follows the socket's, after a colon. What is
 * wrong is said without the URL, which may hold a secret.
 */
export function endpointUrl(url: string): string {
  if (!URL.canParse(url)) throw new MillraceError("CONNECT_FAILED", "Cannot connect: the URL is none");
  if (!url.startsWith("ws+unix:")) return new URL(WEBSOCKET_PATH, url).href;
  const { host, pathname, search, hash } = new URL(url);
  if (host !== "" || /[:%]/.test(pathname) || search !== "" || hash !== "") {
    const text = "Cannot connect: ws+unix:// wants the absolute path of a socket, without blanks and : % ? #";
    throw new MillraceError("CONNECT_FAILED", text);
  }
  return `ws+unix://${pathname}:${WEBSOCKET_PATH}`;
}

/** Whether a URL leads to this machine whatever the network is: by its address, not by a name that somebody may own. */
export function isLoopback(url: string): boolean {
  if (!URL.canParse(url)) return false;
  const { hostname, protocol } = new URL(url);
  return (
    protocol === "ws+unix:" ||
    hostname === "localhost" ||
    hostname === "[::1]" ||
    /^127\.\d+\.\d+\.\d+$/.test(hostname)
  );
}
