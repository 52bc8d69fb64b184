import { ExportFormat } from "../../../src/core/stream-definition.ts";
import type { TestCertificate } from "../../support/certificates.ts";
import { HttpTarget, type HttpAnswer, type HttpDelivery } from "../../support/http-target.ts";
import type { CleanUp } from "../../support/program.ts";
import { EXPORTER, type Counterpart } from "./destination-under-test.ts";
import { testDestination } from "./suite.ts";

const BAD = "refuse me";

/** What the requests hold, as text, whatever their format. */
function payloadsOf({ headers, body }: HttpDelivery): string[] {
  if (headers["content-type"] !== "application/json") return [body.toString()];
  const messages = JSON.parse(body.toString()) as { payload: string }[];
  return messages.map(({ payload }) => Buffer.from(payload, "base64").toString());
}

async function startCounterpart(
  t: CleanUp,
  {
    tls,
    exportFormat,
    batchSize,
  }: { tls: TestCertificate | undefined; exportFormat: ExportFormat; batchSize: number },
): Promise<Counterpart> {
  const target = await HttpTarget.start({ tls });
  t.after(() => target.close());
  let throttled = 0;
  let untilHold = Infinity;
  target.answer = (request): HttpAnswer => {
    if (throttled > 0) {
      throttled -= 1;
      return { kind: "status", status: 429 };
    }
    if (payloadsOf(request).includes(BAD)) return { kind: "status", status: 422 };
    untilHold -= 1;
    return untilHold < 0 ? { kind: "hang" } : { kind: "status", status: 200, body: "taken" };
  };
  return {
    port: target.port,
    env: () => ({ MILLRACE_EXPORT_HTTP_INWARD: "127.0.0.0/8,::1" }),
    exporter: ({ port }) => {
      const uri = `${tls === undefined ? "http" : "https"}://localhost:${port ?? 0}/in?key=1`;
      return { exportDefinition: { http: [{ identifier: EXPORTER, uri, exportFormat, batchSize }] } };
    },
    payload: (counter) => Buffer.from(`message ${counter} ${"x".repeat(counter % 300)}`),
    badPayload: () => Buffer.from(BAD),
    arrived: () => target.stored.flatMap(payloadsOf).map((payload) => Number(payload.split(" ")[1])),
    throttle: (requests) => (throttled = requests),
    holdAfter: (requests) =>
      (untilHold = requests * (exportFormat === ExportFormat.JSON_BATCHED ? 1 : batchSize)),
    resume: () => (untilHold = Infinity),
    goDown: () => target.close(),
    goUp: () => target.listen(),
  };
}

for (const [name, exportFormat] of [
  ["HTTP, a request a message", ExportFormat.RAW_NOT_BATCHED],
  ["HTTP, batches in JSON", ExportFormat.JSON_BATCHED],
] as const) {
  const batchSize = 20;
  testDestination({
    name,
    batchSize,
    keepsOrder: true,
    isRemote: true,
    hasTls: true,
    start: (t, { tls }) => startCounterpart(t, { tls, exportFormat, batchSize }),
  });
}
