import { mkdirSync, writeFileSync } from "node:fs";
import path from "node:path";
import { pathToFileURL } from "node:url";
import type { TestCertificate } from "../../support/certificates.ts";
import { temporaryDirectory } from "../../support/engine-process.ts";
import type { CleanUp } from "../../support/program.ts";
import { type S3Answer, TestS3Server } from "../../support/test-s3-server.ts";
import { EXPORTER, type Counterpart } from "./destination-under-test.ts";
import { testDestination } from "./suite.ts";
import { Troubles } from "./troubles.ts";

async function startCounterpart(
  t: CleanUp,
  { tls }: { tls: TestCertificate | undefined },
): Promise<Counterpart> {
  const server = await TestS3Server.start(t, { tls });
  const files = path.join(temporaryDirectory(t), "files");
  mkdirSync(files);
  const troubles = new Troubles();
  /** Keys of requests that s3rver was given whole. */
  const stored: string[] = [];
  server.answer = ({ key }): S3Answer => {
    const trouble = troubles.next();
    if (trouble === "throttle") return { kind: "error", status: 503, code: "SlowDown" };
    // An answer without end is given in s3rver's place.
    if (trouble === "endless") return { kind: trouble };
    stored.push(key);
    return trouble === "hold" ? { kind: "keep" } : undefined;
  };
  const taskOf = (counter: number, bucket: string): Buffer => {
    const place = path.join(files, String(counter));
    writeFileSync(place, `content ${counter} ${"x".repeat(counter % 300)}`);
    return Buffer.from(JSON.stringify({ inputUrl: pathToFileURL(place).href, bucket, key: String(counter) }));
  };
  return {
    ...troubles.controls(server.http),
    env: ({ port, isTls }) => ({
      ...server.environment,
      AWS_ENDPOINT_URL_S3: `${isTls ? "https" : "http"}://127.0.0.1:${port ?? 0}`,
      STREAM_MANAGER_READ_ONLY_DIRS: files,
    }),
    exporter: () => ({ exportDefinition: { s3TaskExecutor: [{ identifier: EXPORTER }] } }),
    payload: (counter) => taskOf(counter, "bucket"),
    badPayload: (counter) => taskOf(counter, "Not a bucket"),
    arrived: () => stored.map(Number),
  };
}

testDestination({ name: "S3 by tasks", kind: "s3TaskExecutor", batchSize: 1, start: startCounterpart });
