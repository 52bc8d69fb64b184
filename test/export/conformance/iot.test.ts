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
import { type Counterpart, EXPORTER } from "./destination-under-test.ts";
import { testDestination } from "./suite.ts";

const BAD = "refuse me";
/** Of SiteWise, with the values below. */
const CALLS_PER_BATCH = 3;

/** What both services have in common as counterparts. */
function counterpartOf<Entry>(
  server: AwsModelServer<Entry>,
  tls: TestCertificate | undefined,
  badIndexes: (entries: readonly Entry[]) => readonly number[],
) {
  let throttled = 0;
  let failing = 0;
  let untilHold = Infinity;
  server.answer = ({ entries }): ModelAnswer => {
    if (throttled > 0) {
      throttled -= 1;
      return { kind: "error", type: "ThrottlingException" };
    }
    const refused = badIndexes(entries).map((index) => ({ index, code: "InvalidRequestException" }));
    const some = failing > 0 ? [{ index: 0, code: "InternalFailureException" }] : [];
    failing -= some.length;
    untilHold -= 1;
    return untilHold < 0 ? { kind: "hang" } : { kind: "entries", errors: [...refused, ...some] };
  };
  return {
    port: server.port,
    env: ({ port }: { port: number | undefined }) =>
      environmentFor({ url: `${tls === undefined ? "http" : "https"}://localhost:${port ?? 0}` }),
    throttle: (requests: number) => (throttled = requests),
    failSome: (requests: number) => (failing = requests),
    holdAfter: (requests: number) => (untilHold = requests),
    resume: () => (untilHold = Infinity),
    goDown: () => server.close(),
    goUp: () => server.listen(),
  };
}

async function startAnalytics(t: CleanUp, tls: TestCertificate | undefined): Promise<Counterpart> {
  const server = await serveAnalytics(t, tls);
  const isBad = ({ payload }: AnalyticsMessage): boolean => payload.toString() === BAD;
  const badIndexes = (entries: readonly AnalyticsMessage[]) =>
    entries.flatMap((message, index) => (isBad(message) ? [index] : []));
  const config = { identifier: EXPORTER, iotChannel: "readings", iotMsgIdPrefix: "edge-", batchSize: 20 };
  return {
    ...counterpartOf(server, tls, badIndexes),
    exporter: () => ({ exportDefinition: { iotAnalytics: [config] } }),
    payload: (counter) => Buffer.from(`message ${counter} ${"x".repeat(counter % 300)}`),
    badPayload: () => Buffer.from(BAD),
    arrived: () => server.stored.map(({ payload }) => Number(payload.toString().split(" ")[1])),
  };
}

async function startSiteWise(t: CleanUp, tls: TestCertificate | undefined): Promise<Counterpart> {
  const server = await serveSiteWise(t, tls);
  const nowS = Math.floor(Date.now() / 1000);
  const common = counterpartOf(server, tls, () => []);
  return {
    ...common,
    holdAfter: (requests) => common.holdAfter(requests * CALLS_PER_BATCH),
    exporter: () => ({ exportDefinition: { IotSitewise: [{ identifier: EXPORTER, batchSize: 10 }] } }),
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
  const common = { keepsOrder: true, isRemote: true, hasTls: true };
  testDestination({
    ...common,
    ...{ name: "IoT Analytics", batchSize: 20 },
    start: (t, { tls }) => startAnalytics(t, tls),
  });
  testDestination({
    ...common,
    ...{ name: "IoT SiteWise", batchSize: 10 },
    start: (t, { tls }) => startSiteWise(t, tls),
  });
} else {
  test("export to IoT Analytics and IoT SiteWise", (t) => {
    skipOrFail(t, "the models of the services are not installed (python3-botocore)");
  });
}
