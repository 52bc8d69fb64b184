import { test } from "node:test";
import type { AwsModelServer, ModelAnswer } from "../../support/aws-model-server.ts";
import type { TestCertificate } from "../../support/certificates.ts";
import {
  type AnalyticsMessage,
  environmentFor,
  hasModels,
  serveAnalytics,
  serveSiteWise,
} from "../../support/iot-services.ts";
import type { CleanUp } from "../../support/program.ts";
import { skipOrFail } from "../../support/require-program.ts";
import { byLength } from "../../support/test-length.ts";
import { type Counterpart, EXPORTER, type Reach } from "./destination-under-test.ts";
import { testDestination } from "./suite.ts";
import { Troubles } from "./troubles.ts";

const BAD = "refuse me";
const ANALYTICS_BATCH_SIZE = byLength({ everyday: 10, long: 20 });
/** The service takes no more. */
const SITEWISE_BATCH_SIZE = 10;
/** Of SiteWise, with the values below. */
const CALLS_PER_BATCH = 3;

/** What both services have in common as counterparts. */
function counterpartOf<Entry>(
  server: AwsModelServer<Entry>,
  troubles: Troubles,
  badIndexes: (entries: readonly Entry[]) => readonly number[],
) {
  server.answer = ({ entries }): ModelAnswer => {
    const trouble = troubles.next();
    if (trouble === "throttle") return { kind: "error", type: "ThrottlingException" };
    if (trouble === "hold") return { kind: "hang" };
    if (trouble === "endless") return { kind: trouble };
    const refused = badIndexes(entries).map((index) => ({ index, code: "InvalidRequestException" }));
    const some = trouble === "failSome" ? [{ index: 0, code: "InternalFailureException" }] : [];
    return { kind: "entries", errors: [...refused, ...some] };
  };
  return {
    ...troubles.controls(server.http),
    failSome: troubles.failSome,
    env: ({ port, isTls }: Reach) =>
      environmentFor({ url: `${isTls ? "https" : "http"}://localhost:${port ?? 0}` }),
  };
}

async function startAnalytics(t: CleanUp, tls: TestCertificate | undefined): Promise<Counterpart> {
  const server = await serveAnalytics(t, tls);
  const isBad = ({ payload }: AnalyticsMessage): boolean => payload.toString() === BAD;
  const badIndexes = (entries: readonly AnalyticsMessage[]) =>
    entries.flatMap((message, index) => (isBad(message) ? [index] : []));
  const config = { identifier: EXPORTER, iotChannel: "readings", iotMsgIdPrefix: "edge-" };
  return {
    ...counterpartOf(server, new Troubles(), badIndexes),
    exporter: () => ({
      exportDefinition: { iotAnalytics: [{ ...config, batchSize: ANALYTICS_BATCH_SIZE }] },
    }),
    payload: (counter) => Buffer.from(`message ${counter} ${"x".repeat(counter % 300)}`),
    badPayload: () => Buffer.from(BAD),
    arrived: () => server.stored.map(({ payload }) => Number(payload.toString().split(" ")[1])),
  };
}

async function startSiteWise(t: CleanUp, tls: TestCertificate | undefined): Promise<Counterpart> {
  const server = await serveSiteWise(t, tls);
  const nowS = Math.floor(Date.now() / 1000);
  return {
    ...counterpartOf(server, new Troubles({ requestsPerBatch: CALLS_PER_BATCH }), () => []),
    exporter: () => ({
      exportDefinition: { IotSitewise: [{ identifier: EXPORTER, batchSize: SITEWISE_BATCH_SIZE }] },
    }),
    // Five in a row share a time, so that a batch takes more than one call.
    payload: (counter) =>
      Buffer.from(
        JSON.stringify({
          entryId: "reading",
          propertyAlias: `/pump/${counter % 3}`,
          propertyValues: [
            {
              value: { integerValue: counter },
              timestamp: { timeInSeconds: nowS - Math.floor(counter / 5) },
            },
          ],
        }),
      ),
    badPayload: () => Buffer.from("no entry"),
    arrived: () => server.stored.map(({ propertyValues: [first] }) => Number(first?.value["integerValue"])),
  };
}

if (hasModels()) {
  testDestination({
    ...{ name: "IoT Analytics", kind: "iotAnalytics", batchSize: ANALYTICS_BATCH_SIZE },
    start: (t, { tls }) => startAnalytics(t, tls),
  });
  testDestination({
    ...{ name: "IoT SiteWise", kind: "IotSitewise", batchSize: SITEWISE_BATCH_SIZE },
    start: (t, { tls }) => startSiteWise(t, tls),
  });
} else {
  test("export to IoT Analytics and IoT SiteWise", (t) => {
    skipOrFail(t, "the models of the services are not installed (python3-botocore)");
  });
}
