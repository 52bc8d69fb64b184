import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { test, type TestContext } from "node:test";
import { systemClock } from "../../src/core/clock.ts";
import { TokenAuthenticator } from "../../src/net/token-authenticator.ts";
import { encodeListStreamsResponse } from "../../src/wire/list-streams.ts";
import { findRequestId, success } from "../../src/wire/reply.ts";
import { EXAMPLE_TOKEN, openTestPort } from "./port-fixture.ts";

/** What this test uses of `aws-greengrass-core-sdk`, which has no types. */
interface OfficialClient {
  listStreams(): Promise<string[]>;
  close(): void;
}
interface OfficialClientOptions {
  readonly host: string;
  readonly port: number;
  readonly onConnectCb: () => void;
  readonly onErrorCb: (error: Error) => void;
}

const timeout = 20_000;

/** Connects the unmodified npm client with the token in the variable that it reads. */
function connectOfficial(
  t: TestContext,
  options: { port: number; token: string },
): { client: OfficialClient; outcome: Promise<"connected" | Error> } {
  t.mock.method(console, "log", () => undefined);
  const sdk = createRequire(import.meta.url)("aws-greengrass-core-sdk/stream-manager") as {
    StreamManagerClient: new (options: OfficialClientOptions) => OfficialClient;
  };
  process.env["AWS_CONTAINER_AUTHORIZATION_TOKEN"] = options.token;
  t.after(() => delete process.env["AWS_CONTAINER_AUTHORIZATION_TOKEN"]);
  let client: OfficialClient | undefined;
  const outcome = new Promise<"connected" | Error>((resolve) => {
    client = new sdk.StreamManagerClient({
      host: "127.0.0.1",
      port: options.port,
      onConnectCb: () => resolve("connected"),
      onErrorCb: resolve,
    });
  });
  assert.ok(client !== undefined);
  return { client, outcome };
}

test("the official client connects, asks, and closes by a half-close", { timeout }, async (t) => {
  const authenticator = new TokenAuthenticator({ token: EXAMPLE_TOKEN, clock: systemClock });
  const { port, handler } = await openTestPort(t, { authenticator });
  handler.onRequest = (session, frame) => {
    const requestId = findRequestId(frame) ?? "";
    session.send(encodeListStreamsResponse({ ...success(requestId), streams: ["a", "b"] }));
  };
  const { client, outcome } = connectOfficial(t, { port: port.port, token: EXAMPLE_TOKEN });
  assert.equal(await outcome, "connected");
  assert.deepEqual(await client.listStreams(), ["a", "b"]);
  const lists = await Promise.all(Array.from({ length: 20 }, () => client.listStreams()));
  assert.equal(lists.length, 20);
  client.close();
  await handler.closed.take();
  assert.equal(port.counters.tcp.open, 0);
});
