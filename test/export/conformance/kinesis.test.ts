import { after, before } from "node:test";
import type { TestCertificate } from "../../support/certificates.ts";
import { CleanUps } from "../../support/clean-ups.ts";
import { FakeKinesisServer, type PutAnswer } from "../../support/fake-kinesis-server.ts";
import { KinesisEmulator } from "../../support/kinesis-emulator.ts";
import type { CleanUp } from "../../support/program.ts";
import { byLength } from "../../support/test-length.ts";
import { EXPORTER, type Counterpart } from "./destination-under-test.ts";
import { testDestination } from "./suite.ts";
import { Troubles } from "./troubles.ts";

const MIB = 1024 * 1024;
const batchSize = byLength({ everyday: 10, long: 20 });
const cleanUps = new CleanUps();
let emulator: KinesisEmulator;
let streamCount = 0;

before(async () => {
  emulator = await KinesisEmulator.start(cleanUps, "kinesalite");
});
after(() => cleanUps.run());

/** kinesalite has the records. What it never does, to slow down or to fail, the server before it does. */
async function startCounterpart(t: CleanUp, tls: TestCertificate | undefined): Promise<Counterpart> {
  const kinesisStreamName = `target-${streamCount++}`;
  await emulator.createStream(kinesisStreamName, 2);
  const server = await FakeKinesisServer.start({ tls, behind: emulator.url });
  t.after(() => server.close());
  const troubles = new Troubles();
  server.answer = (): PutAnswer => {
    switch (troubles.next()) {
      case "throttle":
        return { kind: "error", status: 400, type: "ProvisionedThroughputExceededException" };
      case "hold":
        return { kind: "keep" };
      case "endless":
        return { kind: "endless" };
      case "failSome":
        return { kind: "partial", failed: [0, 3], code: "InternalFailure" };
      case undefined:
        return { kind: "accept" };
    }
  };
  return {
    ...troubles.controls(server.http),
    failSome: troubles.failSome,
    env: ({ port, isTls }) => ({
      AWS_ACCESS_KEY_ID: "test",
      AWS_SECRET_ACCESS_KEY: "test",
      AWS_REGION: "us-east-1",
      AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED: "true",
      AWS_ENDPOINT_URL_KINESIS: `${isTls ? "https" : "http"}://localhost:${port ?? 0}`,
    }),
    exporter: () => ({
      exportDefinition: { kinesis: [{ identifier: EXPORTER, kinesisStreamName, batchSize }] },
      // Within a shard Kinesis keeps the order.
      options: { exporters: { [EXPORTER]: { partitionKey: "fixed:one" } } },
    }),
    payload: (counter) => Buffer.from(`message ${counter} ${"x".repeat(counter % 300)}`),
    badPayload: () => Buffer.alloc(MIB + 1, "x"),
    arrived: async () => {
      const records = await emulator.recordsOf(kinesisStreamName);
      return records.map(({ text }) => Number(text.split(" ")[1]));
    },
  };
}

testDestination({
  ...{ name: "Kinesis", kind: "kinesis", batchSize },
  start: (t, { tls }) => startCounterpart(t, tls),
});
