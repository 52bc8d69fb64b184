import { BlockList, isIP } from "node:net";

/** What an operator lets be reached: a host by its name, or addresses, at any port or at one. */
export interface AddressRule {
  /** In lower case, without a dot at the end; undefined for addresses. */
  readonly host: string | undefined;
  readonly addresses: BlockList | undefined;
  readonly port: number | undefined;
}

/** Where somebody wants to connect to. */
export interface Target {
  /** As the URL has it, or the answer of a name server. */
  readonly address: string;
  readonly host: string;
  readonly port: number;
}

const HOST = /^[a-z0-9_](?:[a-z0-9_.-]*[a-z0-9_])?$/;
const PORT_LARGEST = 65_535;
const PREFIX_BITS = { 4: 32, 6: 128 } as const;

/**
 * Reads `collector.local`, `10.1.0.0/16`, `192.168.1.7:8080`, `fd00::/8` or `[::1]:9000`.
 * @returns undefined for what is none of these
 */
export function parseAddressRule(text: string): AddressRule | undefined {
  const { subject, port } = splitPort(text.trim().toLowerCase());
  if (port !== undefined && !(port >= 1 && port <= PORT_LARGEST)) return undefined;
  const [address = "", prefixText, ...rest] = subject.split("/");
  if (rest.length > 0) return undefined;
  const version = isIP(address);
  if (version === 4 || version === 6) {
    const bitsMax = PREFIX_BITS[version];
    const bits = prefixText === undefined ? bitsMax : /^\d{1,3}$/.test(prefixText) ? Number(prefixText) : -1;
    if (bits < 0 || bits > bitsMax) return undefined;
    const addresses = new BlockList();
    addresses.addSubnet(address, bits, version === 4 ? "ipv4" : "ipv6");
    return { host: undefined, addresses, port };
  }
  // What looks like an address and is none must not pass for a name.
  if (prefixText !== undefined || !HOST.test(address) || /^[\d.]+$/.test(address)) return undefined;
  return { host: address, addresses: undefined, port };
}

function splitPort(text: string): { readonly subject: string; readonly port: number | undefined } {
  const bracketed = /^\[([0-9a-f:.]+(?:\/\d{1,3})?)\](?::(\d{1,6}))?$/.exec(text);
  if (bracketed !== null) return { subject: bracketed[1]!, port: numberOf(bracketed[2]) };
  // More than one colon is an address of version 6.
  const plain = /^([^:]*):(\d{1,6})$/.exec(text);
  return plain === null
    ? { subject: text, port: undefined }
    : { subject: plain[1]!, port: numberOf(plain[2]) };
}

function numberOf(digits: string | undefined): number | undefined {
  return digits === undefined ? undefined : Number(digits);
}

/** Whether a rule names the target. */
export function isNamed(rules: readonly AddressRule[], { address, host, port }: Target): boolean {
  const plain = plainAddress(address);
  const name = host.toLowerCase().replace(/\.$/, "");
  return rules.some((rule) => {
    if (rule.port !== undefined && rule.port !== port) return false;
    return rule.addresses === undefined ? rule.host === name : contains(rule.addresses, plain);
  });
}

/**
 * Whether an address lies on this machine, on its link, in a private network, or is none that the internet routes to one
 * machine: RFC 6890's special purposes, multicast, and whatever of version 6 is not global unicast. Addresses of version 4 in
 * one of version 6 (mapped, NAT64, 6to4) are judged as what they are. `own` are the addresses of this machine.
 */
export function isInward(address: string, own: readonly string[] = []): boolean {
  const plain = plainAddress(address);
  if (own.some((one) => plainAddress(one) === plain)) return true;
  return isIP(plain) === 6
    ? !contains(globalUnicast, plain) || contains(special, plain)
    : contains(special, plain);
}

function contains(list: BlockList, address: string): boolean {
  return list.check(address, isIP(address) === 6 ? "ipv6" : "ipv4");
}

const special = new BlockList();
for (const [subnet, bits] of [
  ["0.0.0.0", 8],
  ["10.0.0.0", 8],
  ["100.64.0.0", 10],
  ["127.0.0.0", 8],
  ["169.254.0.0", 16],
  ["172.16.0.0", 12],
  ["192.0.0.0", 24],
  ["192.0.2.0", 24],
  ["192.88.99.0", 24],
  ["192.168.0.0", 16],
  ["198.18.0.0", 15],
  ["198.51.100.0", 24],
  ["203.0.113.0", 24],
  ["224.0.0.0", 4],
  ["240.0.0.0", 4],
] as const) {
  special.addSubnet(subnet, bits, "ipv4");
}
// IETF protocol assignments with Teredo, and documentation.
special.addSubnet("2001::", 23, "ipv6");
special.addSubnet("2001:db8::", 32, "ipv6");
special.addSubnet("3fff::", 20, "ipv6");

const globalUnicast = new BlockList();
globalUnicast.addSubnet("2000::", 3, "ipv6");

const WORDS = 8;
const WORD_BITS = 16;

/** The address of version 4 inside one of version 6, or the address in its shortest form, without a zone. */
function plainAddress(address: string): string {
  const bare = address.replace(/^\[|\]$/g, "").replace(/%.*$/, "");
  if (isIP(bare) !== 6) return bare;
  const words = wordsOf(bare);
  const startsWith = (...head: readonly number[]): boolean =>
    head.every((word, index) => words[index] === word);
  if (startsWith(0, 0, 0, 0, 0, 0xffff) || startsWith(0x64, 0xff9b, 0, 0, 0, 0)) return dotted(words, 6);
  if (startsWith(0x2002)) return dotted(words, 1);
  return new URL(`http://[${bare}]`).hostname.slice(1, -1);
}

function wordsOf(address: string): number[] {
  const written = new URL(`http://[${address}]`).hostname.slice(1, -1);
  const [head = "", tail] = written.split("::");
  const parse = (text: string): number[] =>
    text === "" ? [] : text.split(":").map((word) => Number.parseInt(word, 16));
  const front = parse(head);
  if (tail === undefined) return front;
  const back = parse(tail);
  return [...front, ...Array.from({ length: WORDS - front.length - back.length }, () => 0), ...back];
}

function dotted(words: readonly number[], at: number): string {
  const [high, low] = [words[at]!, words[at + 1]!];
  return [high >> (WORD_BITS / 2), high & 0xff, low >> (WORD_BITS / 2), low & 0xff].join(".");
}
