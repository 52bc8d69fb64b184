import assert from "node:assert/strict";
import { X509Certificate } from "node:crypto";
import { chmodSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import path from "node:path";
import { test, type TestContext } from "node:test";
import { setImmediate } from "node:timers/promises";
import { systemRandom } from "../../../src/core/random.ts";
import { IotCredentials } from "../../../src/export/destinations/iot-credentials.ts";
import { KinesisDestination } from "../../../src/export/destinations/kinesis.ts";
import {
  destinationEnvironmentDefault,
  type IotCredentialSettings,
} from "../../../src/export/worker-settings.ts";
import { makeCertificate } from "../../support/certificates.ts";
import { useKinesisEndpoint } from "../../support/export-bench.ts";
import { IotCredentialServer, SECRET_MARK } from "../../support/iot-credential-server.ts";

const MINUTE_MS = 60_000;

/** Time that only a test moves. Its wall clock is years behind: a device need not know what time it is. */
class ManualClock {
  ms = 0;
  nowMs = (): number => this.ms;
  monotonicMs = (): number => this.ms;
  uptimeMs = (): number => this.ms;
}

interface Device {
  readonly server: IotCredentialServer;
  readonly clock: ManualClock;
  /** The number of the access key that an AWS client would sign with now. */
  keyNumber(): Promise<number>;
}

async function startDevice(t: TestContext, changes: Partial<IotCredentialSettings> = {}): Promise<Device> {
  const server = await IotCredentialServer.start(t);
  const clock = new ManualClock();
  const { provider } = new IotCredentials({ ...server.settings, ...changes }, { clock });
  const keyNumber = async (): Promise<number> => {
    const { accessKeyId, secretAccessKey, sessionToken } = await provider();
    const number = accessKeyId.replace("ASIATEST", "");
    assert.equal(secretAccessKey, `${SECRET_MARK}-key-${number}`);
    assert.equal(sessionToken, `${SECRET_MARK}-token-${number}`);
    return Number(number);
  };
  return { server, clock, keyNumber };
}

/** Why there are no credentials: nobody accepts us, or, with `isTemporary`, nobody can say. */
async function refusalOf(device: Device, { isTemporary = false } = {}): Promise<string> {
  const error = await device.keyNumber().then(
    () => assert.fail("there were credentials"),
    (thrown: unknown) => thrown,
  );
  assert.ok(error instanceof Error);
  const name = isTemporary ? "CredentialsUnavailableError" : "CredentialsProviderError";
  assert.equal(error.name, name, error.message);
  assert.doesNotMatch(error.message, new RegExp(SECRET_MARK));
  return error.message;
}

test("IotCredentials shows the device certificate, names the thing, and fetches once for all who ask", async (t) => {
  const device = await startDevice(t, { thingName: "gateway:7" });
  assert.deepEqual(await Promise.all([1, 2, 3].map(() => device.keyNumber())), [1, 1, 1]);
  assert.equal(await device.keyNumber(), 1);
  const { requests } = device.server;
  assert.equal(requests.length, 1);
  assert.equal(requests[0]?.url, "/role-aliases/edge-export/credentials");
  assert.equal(requests[0].thingName, "gateway:7");
});

test("IotCredentials refreshes five minutes before the end, and nobody waits for it", async (t) => {
  const device = await startDevice(t);
  assert.equal(await device.keyNumber(), 1);
  device.clock.ms = 9 * MINUTE_MS;
  assert.equal(await device.keyNumber(), 1);
  assert.equal(device.server.requests.length, 1);
  device.clock.ms = 10.5 * MINUTE_MS;
  assert.equal(await device.keyNumber(), 1, "what is held is good still");
  while ((await device.keyNumber()) === 1) await setImmediate();
  assert.equal(await device.keyNumber(), 2);
  assert.equal(device.server.requests.length, 2);
});

test("IotCredentials refreshes credentials that never last long at half of their time", async (t) => {
  const device = await startDevice(t);
  device.server.lifeMs = MINUTE_MS;
  assert.equal(await device.keyNumber(), 1);
  device.clock.ms = 20_000;
  assert.equal(await device.keyNumber(), 1);
  assert.equal(device.server.requests.length, 1);
  device.clock.ms = 40_000;
  while ((await device.keyNumber()) === 1) await setImmediate();
});

test("IotCredentials uses what it holds while the provider is away, and not a moment after it expired", async (t) => {
  const device = await startDevice(t);
  assert.equal(await device.keyNumber(), 1);
  await device.server.close();
  for (const minute of [10.5, 12, 14, 14.9]) {
    device.clock.ms = minute * MINUTE_MS;
    assert.equal(await device.keyNumber(), 1);
  }
  // The date of an answer has whole seconds, so that a life may be one shorter or longer.
  device.clock.ms = 15 * MINUTE_MS + 1000;
  assert.match(await refusalOf(device, { isTemporary: true }), /ECONNREFUSED/);
  assert.match(
    await refusalOf(device, { isTemporary: true }),
    /^no credentials for role alias edge-export from localhost:\d+: /,
  );
  await device.server.listen();
  assert.equal(await device.keyNumber(), 2);
});

test("IotCredentials takes no credentials that have expired", async (t) => {
  const device = await startDevice(t);
  device.server.lifeMs = -1000;
  assert.match(
    await refusalOf(device, { isTemporary: true }),
    /the answer holds credentials that have expired/,
  );
});

test("IotCredentials picks up a certificate that was exchanged on disk", async (t) => {
  const device = await startDevice(t);
  assert.equal(await device.keyNumber(), 1);
  const next = device.server.trustAnother();
  device.server.writeDevice(next);
  device.clock.ms = 16 * MINUTE_MS;
  assert.equal(await device.keyNumber(), 2);
  const shown = device.server.requests.map(({ fingerprint }) => fingerprint);
  assert.equal(shown[1], new X509Certificate(next.certificate).fingerprint256);
  assert.notEqual(shown[0], shown[1]);
});

test("IotCredentials says that the provider does not know the certificate, and gets through once it does", async (t) => {
  const device = await startDevice(t);
  device.server.writeDevice(makeCertificate());
  assert.match(await refusalOf(device), /alert|device certificate is not accepted/);
  assert.equal(device.server.requests.length, 0);
  device.server.writeDevice(device.server.trustAnother());
  assert.equal(await device.keyNumber(), 1);
});

test("IotCredentials shows its certificate to nobody whose own it does not trust", async (t) => {
  const device = await startDevice(t);
  writeFileSync(path.join(device.server.directory, "ca.pem"), makeCertificate().certificate);
  assert.match(await refusalOf(device), /certificate/);
  const { endpoint } = device.server.settings;
  const byNode = await startDevice(t, { endpoint, authorities: undefined });
  // An environment that turns checks off for everything else does not for this.
  const before = process.env["NODE_TLS_REJECT_UNAUTHORIZED"];
  process.env["NODE_TLS_REJECT_UNAUTHORIZED"] = "0";
  t.after(() => {
    if (before === undefined) delete process.env["NODE_TLS_REJECT_UNAUTHORIZED"];
    else process.env["NODE_TLS_REJECT_UNAUTHORIZED"] = before;
  });
  assert.match(await refusalOf(byNode), /certificate/);
  assert.equal(device.server.requests.length, 0);
});

test("IotCredentials refuses a key that others may read, and one of another certificate", async (t) => {
  const device = await startDevice(t);
  const { key } = device.server.settings;
  chmodSync(key, 0o640);
  assert.match(await refusalOf(device), /TLS key .*device\.key: mode 640 lets others in, must be 600/);
  chmodSync(key, 0o600);
  writeFileSync(key, makeCertificate().key);
  assert.match(await refusalOf(device), /it is not the key of .*device\.pem/);
  assert.equal(device.server.requests.length, 0);
});

test("IotCredentials says which role alias is missing, and which file", async (t) => {
  const noAlias = await startDevice(t, { roleAlias: "nobody" });
  assert.match(await refusalOf(noAlias), /role alias nobody .*: status 404: Role alias does not exist/);
  const noFile = await startDevice(t, { authorities: "/nowhere/ca.pem" });
  assert.match(await refusalOf(noFile), /ENOENT.*\/nowhere\/ca\.pem/);
});

const answers: readonly { name: string; text: string; type?: string; expected: RegExp }[] = [
  { name: "a page of HTML", text: "<html>hotel</html>", expected: /does not hold accessKeyId/ },
  {
    name: "half an answer",
    text: `{"credentials":{"secretAccessKey":"${SECRET_MARK}"`,
    expected: /does not hold accessKeyId/,
  },
  {
    name: "no expiration",
    text: `{"credentials":{"accessKeyId":"A","secretAccessKey":"${SECRET_MARK}","sessionToken":"t"}}`,
    expected: /expiration/,
  },
  { name: "an endless answer", text: " ".repeat(70_000), expected: /longer than 65536 bytes/ },
];

for (const { name, text, expected } of answers) {
  test(`IotCredentials refuses ${name}`, async (t) => {
    const device = await startDevice(t);
    device.server.answer = (_, response) => void response.end(text);
    assert.match(await refusalOf(device, { isTemporary: true }), expected);
  });
}

test("IotCredentials tells a provider that refuses it from one that cannot answer now", async (t) => {
  const device = await startDevice(t);
  const cases = [
    [400, false],
    [401, false],
    [403, false],
    [404, false],
    [408, true],
    [429, true],
    [500, true],
    [503, true],
    [302, true],
  ] as const;
  for (const [status, isTemporary] of cases) {
    device.server.answer = (_, response) => void response.writeHead(status).end('{"message":"no"}');
    assert.match(await refusalOf(device, { isTemporary }), new RegExp(`status ${status}: no`));
  }
});

test("IotCredentials does not wait for an answer that goes over to another protocol", async (t) => {
  const device = await startDevice(t);
  device.server.answer = ({ socket }) =>
    void socket.write("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n");
  assert.match(await refusalOf(device, { isTemporary: true }), /answered 101 for another protocol/);
});

test("IotCredentials gives up on a provider that cuts the connection", async (t) => {
  const device = await startDevice(t);
  device.server.answer = (request) => void request.socket.destroy();
  assert.match(await refusalOf(device), /connection was cut without an answer/);
});

test("a Kinesis client signs with them, asks once, and waits where there are none", async (t) => {
  const server = await IotCredentialServer.start(t);
  // So short that the SDK, if it kept them itself, would ask before every request.
  server.lifeMs = 2 * MINUTE_MS;
  const signed: string[] = [];
  const kinesis = createServer((request, response) => {
    signed.push(`${request.headers.authorization ?? ""} ${String(request.headers["x-amz-security-token"])}`);
    response.end('{"FailedRecordCount":0,"Records":[{"SequenceNumber":"1","ShardId":"0"}]}');
  });
  await new Promise<void>((resolve) => kinesis.listen(0, "127.0.0.1", resolve));
  t.after(() => {
    kinesis.closeAllConnections();
    kinesis.close();
  });
  useKinesisEndpoint(`http://127.0.0.1:${(kinesis.address() as AddressInfo).port}`);
  const send = async (iotCredentials: IotCredentialSettings) => {
    const environment = { ...destinationEnvironmentDefault, iotCredentials };
    const destination = await KinesisDestination.load({ random: systemRandom, environment });
    const settings = { kind: "kinesis", kinesisStreamName: "target", partitionKey: "random" } as const;
    const records = [{ sequence: 0, ingestTimeMs: 1, data: Buffer.from("a") }];
    const outcomes = [await destination.send(settings, records), await destination.send(settings, records)];
    destination.close();
    return outcomes;
  };

  const [first, second] = await send(server.settings);
  assert.equal(first?.kind, "answered");
  assert.equal(second?.kind, "answered");
  assert.equal(signed.length, 2);
  for (const line of signed)
    assert.match(line, new RegExp(`Credential=ASIATEST1/.* ${SECRET_MARK}-token-1$`));
  assert.equal(server.requests.length, 1);

  const away = { ...server.settings, endpoint: "127.0.0.1:1" };
  const [unanswered] = await send(away);
  assert.ok(unanswered?.kind === "failed");
  assert.deepEqual([unanswered.scope, unanswered.pace], ["endpoint", "backoff"]);
  assert.match(unanswered.error, /^CredentialsUnavailableError: no credentials for role alias edge-export /);

  const [refused] = await send({ ...server.settings, roleAlias: "nobody" });
  assert.ok(refused?.kind === "failed");
  assert.deepEqual([refused.scope, refused.pace], ["endpoint", "slow"]);
  assert.match(
    refused.error,
    /CredentialsProviderError: no credentials for role alias nobody .*Role alias does not exist/,
  );
  assert.equal(signed.length, 2);
});
