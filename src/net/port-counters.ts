import type { MetricSample } from "../observe/counters.ts";

/** What a transport's sessions count, as plain fields: the hot path adds to them. */
export interface TransportCounters {
  open: number;
  accepted: number;
  framesReceived: number;
  framesSent: number;
  receivedBytes: number;
  sentBytes: number;
}

/** Why a connection was not let in or was cut off. */
export type RefusalReason =
  | "connections-max"
  | "address-connections-max"
  | "accept-rate"
  | "descriptors"
  | "first-byte"
  | "first-byte-deadline"
  | "tls"
  | "plain"
  | "host"
  | "origin"
  | "not-ready"
  | "subprotocol"
  | "token"
  | "token-in-url"
  | "permission"
  | "revoked"
  | "handshake"
  | "handshake-deadline"
  | "malformed-frame"
  | "frame-deadline"
  | "slow-reader"
  | "dead-peer"
  | "failed";

/** The figures of one port, for `/metrics` and for tests. */
export class PortCounters {
  readonly tcp = transportCounters();
  readonly websocket = transportCounters();
  readonly http = transportCounters();
  readonly #refusals = new Map<RefusalReason, number>();

  refuse(reason: RefusalReason): void {
    this.#refusals.set(reason, this.refusals(reason) + 1);
  }

  refusals(reason: RefusalReason): number {
    return this.#refusals.get(reason) ?? 0;
  }

  *samples(): Iterable<MetricSample> {
    for (const transport of ["tcp", "websocket", "http"] as const) {
      const counters = this[transport];
      const labels = { transport };
      yield { name: "connections", value: counters.open, labels };
      yield { name: "connections_accepted_total", value: counters.accepted, labels };
      if (transport === "http") continue;
      yield { name: "frames_received_total", value: counters.framesReceived, labels };
      yield { name: "frames_sent_total", value: counters.framesSent, labels };
      yield { name: "received_bytes_total", value: counters.receivedBytes, labels };
      yield { name: "sent_bytes_total", value: counters.sentBytes, labels };
    }
    for (const [reason, value] of this.#refusals) {
      yield { name: "connections_refused_total", value, labels: { reason } };
    }
  }
}

function transportCounters(): TransportCounters {
  return { open: 0, accepted: 0, framesReceived: 0, framesSent: 0, receivedBytes: 0, sentBytes: 0 };
}
