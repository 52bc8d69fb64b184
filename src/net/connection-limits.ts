import { isIPv6, type Socket } from "node:net";
import type { Clock } from "../core/clock.ts";
import { isLoopbackSocket } from "./peer-address.ts";
import type { RefusalReason } from "./port-counters.ts";
import type { PortLimits } from "./port-limits.ts";

export interface ConnectionLimitsOptions {
  readonly clock: Clock;
  readonly limits: Pick<
    PortLimits,
    "connectionsPerAddressMax" | "connectionsPerSecondMax" | "connectionBurstMax"
  >;
}

/** What is asked of a socket: where it ends. A socket in the file system has no addresses. */
export type Newcomer = Pick<Socket, "localAddress" | "remoteAddress" | "once">;

/**
 * How many connections one address may have, and how quickly new ones may come (RELIABILITY 4, attack 11). This machine's own programs and
 * all others have a rate each, so that a network cannot keep the machine's own programs out; the number of connections
 * bounds only others, since local programs share an address.
 */
export class ConnectionLimits {
  readonly #perAddressMax: number;
  readonly #localRate: Allowance;
  readonly #remoteRate: Allowance;
  readonly #counts = new Map<string, number>();

  constructor({ clock, limits }: ConnectionLimitsOptions) {
    this.#perAddressMax = limits.connectionsPerAddressMax;
    this.#localRate = new Allowance(clock, limits);
    this.#remoteRate = new Allowance(clock, limits);
  }

  /** For a connection that was accepted. One that may stay is counted until it closes. @returns why it must go */
  admit(socket: Newcomer): RefusalReason | undefined {
    if (socket.localAddress === undefined || isLoopbackSocket(socket)) {
      return this.#localRate.take() ? undefined : "accept-rate";
    }
    if (!this.#remoteRate.take()) return "accept-rate";
    const network = networkOf(socket.remoteAddress ?? "");
    const count = this.#counts.get(network) ?? 0;
    if (count >= this.#perAddressMax) return "address-connections-max";
    this.#counts.set(network, count + 1);
    socket.once("close", () => {
      this.#release(network);
    });
    return undefined;
  }

  #release(network: string): void {
    const count = this.#counts.get(network)! - 1;
    if (count === 0) this.#counts.delete(network);
    else this.#counts.set(network, count);
  }
}

/** So many at once, then so many a second. */
class Allowance {
  readonly #clock: Clock;
  readonly #perMs: number;
  readonly #max: number;
  #left: number;
  #atMs: number;

  constructor(clock: Clock, limits: ConnectionLimitsOptions["limits"]) {
    this.#clock = clock;
    this.#perMs = limits.connectionsPerSecondMax / 1000;
    this.#max = limits.connectionBurstMax;
    this.#left = this.#max;
    this.#atMs = clock.monotonicMs();
  }

  take(): boolean {
    const nowMs = this.#clock.monotonicMs();
    this.#left = Math.min(this.#max, this.#left + (nowMs - this.#atMs) * this.#perMs);
    this.#atMs = nowMs;
    if (this.#left < 1) return false;
    this.#left -= 1;
    return true;
  }
}

const MAPPED_IPV4 = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i;

/** An IPv4 address, or the /64 network of an IPv6 one: a single machine has 2^64 addresses of that. */
export function networkOf(address: string): string {
  const mapped = MAPPED_IPV4.exec(address)?.[1];
  if (mapped !== undefined) return mapped;
  if (!isIPv6(address)) return address;
  const [head = "", tail] = address.split("%", 1)[0]!.split("::", 2);
  const groups = head === "" ? [] : head.split(":");
  const tailGroups = tail === undefined || tail === "" ? [] : tail.split(":");
  const zeros = tail === undefined ? 0 : 8 - groups.length - tailGroups.length;
  return [...groups, ...Array<string>(zeros).fill("0"), ...tailGroups].slice(0, 4).join(":") + "::/64";
}
