import assert from "node:assert/strict";
import { createHash, createHmac, timingSafeEqual } from "node:crypto";
import type { IncomingMessage } from "node:http";

const SKEW_MS_MAX = 15 * 60_000;

/** Checks an AWS signature, version 4, in the Authorization header. @throws what is wrong with it */
export function checkSignature(
  request: IncomingMessage,
  body: Buffer,
  { service, secretAccessKey }: { service: string; secretAccessKey: string },
): void {
  const { authorization = "" } = request.headers;
  const parts =
    /^AWS4-HMAC-SHA256 Credential=[^ /,]+\/(\d{8})\/([a-z0-9-]+)\/([a-z]+)\/aws4_request, SignedHeaders=([a-z0-9;-]+), Signature=([0-9a-f]{64})$/.exec(
      authorization,
    );
  assert.ok(parts, `Authorization is "${authorization.slice(0, 60)}"`);
  const [, day = "", region = "", signedService = "", headerNames = "", signature = ""] = parts;
  assert.equal(signedService, service, `signed for ${signedService}`);
  const date = request.headers["x-amz-date"]?.toString() ?? "";
  const signedAt = Date.parse(
    date.replace(/^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/, "$1-$2-$3T$4:$5:$6Z"),
  );
  assert.ok(Math.abs(Date.now() - signedAt) < SKEW_MS_MAX, `X-Amz-Date is "${date}"`);
  assert.equal(day, date.slice(0, 8), "the day of the credential is not that of the request");
  const signed = headerNames.split(";");
  for (const name of ["host", "x-amz-date"]) assert.ok(signed.includes(name), `${name} is not signed`);
  const canonical = [
    request.method ?? "",
    request.url ?? "",
    "",
    ...signed.map((name) => `${name}:${request.headers[name]?.toString().trim() ?? ""}`),
    "",
    headerNames,
    createHash("sha256").update(body).digest("hex"),
  ].join("\n");
  const scope = `${day}/${region}/${service}/aws4_request`;
  const hash = createHash("sha256").update(canonical).digest("hex");
  const text = ["AWS4-HMAC-SHA256", date, scope, hash].join("\n");
  let key: Buffer = Buffer.from(`AWS4${secretAccessKey}`);
  for (const part of [day, region, service, "aws4_request"]) key = hmac(key, part);
  assert.ok(timingSafeEqual(hmac(key, text), Buffer.from(signature, "hex")), "the signature does not match");
}

function hmac(key: Buffer, text: string): Buffer {
  return createHmac("sha256", key).update(text).digest();
}
