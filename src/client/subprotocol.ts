/** The WebSocket subprotocol: a binary message is one frame of the protocol. */
export const SUBPROTOCOL = "millrace.v1";
/** A browser cannot set headers: it offers its token as a second subprotocol behind this prefix. */
export const TOKEN_SUBPROTOCOL_PREFIX = "millrace.token.";
