import { lookup as systemLookup, type LookupAddress } from "node:dns";
import { Agent as HttpAgent } from "node:http";
import { Agent as HttpsAgent } from "node:https";
import type { LookupFunction } from "node:net";
import { createSecureContext } from "node:tls";
import { readAuthorities } from "./certificate-authorities.ts";

/** Kept-alive connections for requests to one kind of destination. */
export interface OutboundAgents {
  readonly http: HttpAgent;
  readonly https: HttpsAgent;
}

/**
 * Agents whose TLS is always verified: against the authorities of a PEM file, or else those that Node.js knows. That is said
 * here and not left to NODE_TLS_REJECT_UNAUTHORIZED. @throws {MillraceError} INVALID_SETTING
 */
export function outboundAgents(authoritiesPath: string | undefined): OutboundAgents {
  const trust =
    authoritiesPath === undefined
      ? {}
      : { secureContext: createSecureContext({ ca: readAuthorities(authoritiesPath) }) };
  return {
    http: new HttpAgent({ keepAlive: true }),
    https: new HttpsAgent({ keepAlive: true, rejectUnauthorized: true, ...trust }),
  };
}

/** A look-up of names that gives only addresses that `isAllowed` lets pass, and fails with `refuse`'s error where none is left. */
export function filteredLookup(
  isAllowed: (address: string) => boolean,
  refuse: () => NodeJS.ErrnoException,
  lookup: typeof systemLookup = systemLookup,
): LookupFunction {
  return (host, options, callback) => {
    lookup(host, { ...options, all: true }, (error, found: LookupAddress[]) => {
      if (error !== null) {
        callback(error, []);
        return;
      }
      const [first, ...others] = found.filter(({ address }) => isAllowed(address));
      if (first === undefined) callback(refuse(), []);
      else if (options.all === true) callback(null, [first, ...others]);
      else callback(null, first.address, first.family);
    });
  };
}
