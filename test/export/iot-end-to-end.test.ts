import assert from "node:assert/strict";
import { test, type TestContext } from "node:test";
import { setTimeout as after } from "node:timers/promises";
import { MillraceClient } from "../../src/client/millrace-client.ts";
import { StrategyOnFull } from "../../src/core/stream-definition.ts";
import type { ExporterDescription } from "../../src/core/stream-description.ts";
import { EngineProcess, temporaryDirectory } from "../support/engine-process.ts";
import { FakeKinesisServer } from "../support/fake-kinesis-server.ts";
import { HttpTarget } from "../support/http-target.ts";
import { IotCredentialServer, SECRET_MARK } from "../support/iot-credential-server.ts";
import { environmentFor, startAnalytics } from "../support/iot-services.ts";

const timeout = 120_000;
const STREAM = "readings";

function connect(engine: EngineProcess): Promise<MillraceClient> {
  return MillraceClient.connect({ url: `ws://127.0.0.1:${engine.port}`, token: engine.token ?? "" });
}

async function append(client: MillraceClient, from: number, to: number): Promise<void> {
  for (let counter = from; counter < to; counter += 1) {
    await client.appendMessage(STREAM, Buffer.from(`message ${counter}`));
  }
}

/** The exporter once `isMet` holds. */
async function exporterOnce(
  t: TestContext,
  client: MillraceClient,
  isMet: (exporter: ExporterDescription) => boolean,
): Promise<ExporterDescription> {
  for (;;) {
    const [exporter] = (await client.describeStream(STREAM)).exporters;
    if (exporter !== undefined && isMet(exporter)) return exporter;
    await after(20, undefined, { signal: t.signal });
  }
}

const isDrained = ({ pending }: ExporterDescription): boolean => pending.messages === 0;

test(
  "an exporter to IoT Analytics goes on elsewhere and back by a setting, and sends nothing twice",
  { timeout },
  async (t) => {
    const target = await HttpTarget.start();
    t.after(() => target.close());
    const server = await startAnalytics(t);
    if (server === undefined) return;
    const storeDirectory = temporaryDirectory(t);
    const mapped = {
      MILLRACE_EXPORT_MAP: `iotAnalytics/*=http:${target.origin}/in`,
      MILLRACE_EXPORT_HTTP_INWARD: "127.0.0.0/8",
    };
    const env = environmentFor(server);

    const first = await EngineProcess.start(t, {
      storeDirectory,
      env: { ...env, ...mapped, LOG_LEVEL: "info" },
    });
    const client = await connect(first);
    t.after(() => client.close());
    const config = { identifier: "old", iotChannel: "readings" };
    const exportDefinition = { iotAnalytics: [config] };
    await client.createMessageStream({
      name: STREAM,
      strategyOnFull: StrategyOnFull.RejectNewData,
      exportDefinition,
    });
    await append(client, 0, 10);
    const elsewhere = await exporterOnce(t, client, isDrained);
    assert.equal(elsewhere.kind, "iotAnalytics");
    assert.equal(elsewhere.notice, `sent to http:${target.origin} by MILLRACE_EXPORT_MAP`);
    assert.equal(elsewhere.exported.messages, 10);
    const sent = target.stored.flatMap(
      ({ body }) => JSON.parse(body.toString()) as { sequenceNumber: number }[],
    );
    assert.deepEqual(
      sent.map(({ sequenceNumber }) => sequenceNumber),
      Array.from({ length: 10 }, (_, index) => index),
    );
    assert.equal(server.requests.length, 0);
    client.close();
    const { stderr } = await first.stop();
    assert.equal(stderr.split("export.mapped").length, 2, stderr);

    const second = await EngineProcess.start(t, { storeDirectory, env });
    const again = await connect(second);
    t.after(() => again.close());
    await append(again, 10, 15);
    const back = await exporterOnce(t, again, isDrained);
    assert.match(back.notice ?? "", /^AWS ended IoT Analytics on 2025-12-15/);
    assert.equal(back.exported.messages, 15);
    assert.deepEqual(
      server.stored.map(({ payload }) => payload.toString()),
      [10, 11, 12, 13, 14].map((counter) => `message ${counter}`),
    );
    assert.equal(target.stored.length, target.requests.length);
    again.close();
    const ended = await second.stop();
    assert.equal(ended.stderr.split("export.service-ended").length, 2, ended.stderr);
  },
);

test(
  "an engine exports with credentials for its device certificate, and tells their secret to nobody",
  { timeout },
  async (t) => {
    const provider = await IotCredentialServer.start(t);
    const kinesis = await FakeKinesisServer.start();
    t.after(() => kinesis.close());
    const { endpoint, roleAlias, certificate, key, authorities = "" } = provider.settings;
    const env = {
      AWS_REGION: "eu-west-1",
      AWS_ENDPOINT_URL_KINESIS: kinesis.url,
      MILLRACE_AWS_IOT_CREDENTIALS_ENDPOINT: endpoint,
      MILLRACE_AWS_IOT_ROLE_ALIAS: roleAlias,
      MILLRACE_AWS_IOT_CERTIFICATE: certificate,
      MILLRACE_AWS_IOT_KEY: key,
      MILLRACE_AWS_IOT_CA: authorities,
      MILLRACE_AWS_IOT_THING_NAME: "gateway-7",
      LOG_LEVEL: "trace",
    };
    const engine = await EngineProcess.start(t, { env });
    const client = await connect(engine);
    t.after(() => client.close());
    // The first fetch fails.
    provider.answer = (_, response) => {
      response.writeHead(403, { "content-type": "application/json" });
      response.end('{"message":"not this thing"}');
    };
    const exportDefinition = { kinesis: [{ identifier: "cloud", kinesisStreamName: "target" }] };
    await client.createMessageStream({
      name: STREAM,
      strategyOnFull: StrategyOnFull.RejectNewData,
      exportDefinition,
    });
    await append(client, 0, 3);
    const { errorMessage } = await exporterOnce(t, client, (exporter) => exporter.errorMessage !== "");
    assert.match(
      errorMessage,
      /no credentials for role alias edge-export from .*: status 403: not this thing/,
    );
    provider.answer = undefined;
    const told: unknown[] = [await client.describeStream(STREAM)];
    // One try a minute where only a person can mend it: a new start tries at once.
    client.close();
    const first = await engine.stop();
    const { storeDirectory } = engine;
    const next = await EngineProcess.start(t, { storeDirectory, env });
    const again = await connect(next);
    t.after(() => again.close());
    const exporter = await exporterOnce(t, again, isDrained);
    assert.equal(exporter.exported.messages, 3);
    assert.deepEqual(kinesis.storedIn("target"), ["message 0", "message 1", "message 2"]);
    told.push(await again.describeStream(STREAM), await again.describeMessageStream(STREAM));
    again.close();
    const second = await next.stop();
    told.push(first.stderr, first.stdout, second.stderr, second.stdout);
    assert.doesNotMatch(JSON.stringify(told), new RegExp(SECRET_MARK));
    assert.equal(provider.requests.at(-1)?.thingName, "gateway-7");
  },
);
