import { type KeyObject, generateKeyPairSync, randomBytes, sign } from "node:crypto";

/*
 * Certificates made here and now, with node:crypto and as much of X.509 (RFC 5280) in DER as they need: no program that would
 * have to be there, and any time of validity.
 */
export interface TestCertificate {
  /** Both as PEM. The certificate is its own authority. */
  readonly certificate: string;
  readonly key: string;
}

export function makeCertificate(
  options: {
    notBefore?: Date;
    notAfter?: Date;
    dnsNames?: readonly string[];
    /** Of the subject. Whoever is to trust several certificates tells them apart by it. */
    commonName?: string;
  } = {},
): TestCertificate {
  const dayMs = 86_400_000;
  const { notBefore = new Date(Date.now() - dayMs), notAfter = new Date(Date.now() + 365 * dayMs) } = options;
  const { dnsNames = ["localhost"], commonName = "millrace test" } = options;
  const { publicKey, privateKey } = generateKeyPairSync("ec", { namedCurve: "prime256v1" });
  const name = sequence(set(sequence(objectId(2, 5, 4, 3), tlv(0x0c, Buffer.from(commonName)))));
  const body = sequence(
    tlv(0xa0, integer(Buffer.of(2))),
    integer(Buffer.concat([Buffer.of(0x40), randomBytes(8)])),
    ECDSA_WITH_SHA256,
    name,
    sequence(time(notBefore), time(notAfter)),
    name,
    publicKey.export({ type: "spki", format: "der" }),
    tlv(0xa3, sequence(extension(objectId(2, 5, 29, 17), alternativeNames(dnsNames)))),
  );
  return {
    certificate: pem(sequence(body, ECDSA_WITH_SHA256, bitString(sign("sha256", body, privateKey)))),
    key: exportKey(privateKey),
  };
}

function exportKey(key: KeyObject): string {
  return key.export({ type: "pkcs8", format: "pem" }).toString();
}

function alternativeNames(dnsNames: readonly string[]): Buffer {
  const names = dnsNames.map((name) => tlv(0x82, Buffer.from(name)));
  return sequence(...names, tlv(0x87, Buffer.of(127, 0, 0, 1)));
}

function extension(id: Buffer, value: Buffer): Buffer {
  return sequence(id, tlv(0x04, value));
}

function tlv(tag: number, ...contents: readonly Buffer[]): Buffer {
  const content = Buffer.concat(contents);
  const { length } = content;
  const head =
    length < 0x80 ? [length] : length < 0x100 ? [0x81, length] : [0x82, length >> 8, length & 0xff];
  return Buffer.concat([Buffer.of(tag, ...head), content]);
}

function sequence(...contents: readonly Buffer[]): Buffer {
  return tlv(0x30, ...contents);
}

function set(...contents: readonly Buffer[]): Buffer {
  return tlv(0x31, ...contents);
}

function integer(bytes: Buffer): Buffer {
  return tlv(0x02, bytes);
}

function bitString(bytes: Buffer): Buffer {
  return tlv(0x03, Buffer.of(0), bytes);
}

/** Each number below 2^14. */
function objectId(first: number, second: number, ...others: readonly number[]): Buffer {
  const bytes = others.flatMap((part) => (part < 0x80 ? [part] : [0x80 | (part >> 7), part & 0x7f]));
  return tlv(0x06, Buffer.of(first * 40 + second, ...bytes));
}

/** GeneralizedTime, which has four digits for the year. */
function time(date: Date): Buffer {
  const digits = date.toISOString().replace(/\.\d+|[-:T]/g, "");
  return tlv(0x18, Buffer.from(digits));
}

function pem(der: Buffer): string {
  const lines = der.toString("base64").match(/.{1,64}/g) ?? [];
  return `-----BEGIN CERTIFICATE-----\n${lines.join("\n")}\n-----END CERTIFICATE-----\n`;
}

/** 1.2.840.10045.4.3.2 */
const ECDSA_WITH_SHA256 = sequence(tlv(0x06, Buffer.of(0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02)));
