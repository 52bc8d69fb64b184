import { ExportFormat } from "../../../src/core/stream-definition.ts";
import type { TestCertificate } from "../../support/certificates.ts";
import { HttpTarget, type HttpAnswer, type HttpDelivery } from "../../support/http-target.ts";
import type { CleanUp } from "../../support/program.ts";
import { byLength } from "../../support/test-length.ts";
import { EXPORTER, type Counterpart } from "./destination-under-test.ts";
import { testDestination } from "./suite.ts";
import { Troubles } from "./troubles.ts";

const BAD = "refuse me";
const batchSize = byLength({ everyday: 10, long: 20 });

/** What the requests hold, as text, whatever their format. */
function payloadsOf({ headers, body }: HttpDelivery): string[] {
  if (headers["content-type"] !== "application/json") return [body.toString()];
  const messages = JSON.parse(body.toString()) as { payload: string }[];
  return messages.map(({ payload }) => Buffer.from(payload, "base64").toString());
}

async function startCounterpart(
  t: CleanUp,
  { tls, exportFormat }: { tls: TestCertificate | undefined; exportFormat: ExportFormat },
): Promise<Counterpart> {
  const target = await HttpTarget.start({ tls });
  t.after(() => target.close());
  const requestsPerBatch = exportFormat === ExportFormat.JSON_BATCHED ? 1 : batchSize;
  const troubles = new Troubles({ requestsPerBatch });
  target.answer = (request): HttpAnswer => {
    const trouble = troubles.next();
    if (trouble === "throttle") return { kind: "status", status: 429 };
    if (payloadsOf(request).includes(BAD)) return { kind: "status", status: 422 };
    if (trouble === "hold") return { kind: "hang" };
    return trouble === "endless" ? { kind: trouble } : { kind: "status", status: 200, body: "taken" };
  };
  return {
    ...troubles.controls(target.http),
    env: () => ({ MILLRACE_EXPORT_HTTP_INWARD: "127.0.0.0/8,::1" }),
    exporter: ({ port, isTls }) => {
      const uri = `${isTls ? "https" : "http"}://localhost:${port ?? 0}/in?key=1`;
      return { exportDefinition: { http: [{ identifier: EXPORTER, uri, exportFormat, batchSize }] } };
    },
    payload: (counter) => Buffer.from(`message ${counter} ${"x".repeat(counter % 300)}`),
    badPayload: () => Buffer.from(BAD),
    arrived: () => target.stored.flatMap(payloadsOf).map((payload) => Number(payload.split(" ")[1])),
  };
}

for (const [name, exportFormat] of [
  ["HTTP, a request a message", ExportFormat.RAW_NOT_BATCHED],
  ["HTTP, batches in JSON", ExportFormat.JSON_BATCHED],
] as const) {
  testDestination({
    ...{ name, kind: "http", batchSize },
    start: (t, { tls }) => startCounterpart(t, { tls, exportFormat }),
  });
}
