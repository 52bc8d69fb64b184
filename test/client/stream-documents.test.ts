import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { MillraceClient, MillraceError, StrategyOnFull } from "../../src/client/index.ts";
import { CLIENT_REQUEST_TIMEOUT_MS } from "../../src/core/limits.ts";
import { StatusCode } from "../../src/core/status-code.ts";
import { Operation } from "../../src/wire/operation.ts";
import {
  type StreamDocumentOperation,
  decodeStreamDocumentRequest,
  encodeStreamDocumentResult,
} from "../../src/wire/stream-document-layout.ts";
import { ManualEnvironment, settled } from "../support/manual-environment.ts";
import { WireEngine } from "../support/wire-engine.ts";

const code = (expected: string) => (thrown: unknown) =>
  thrown instanceof MillraceError && thrown.code === expected;

interface Asked {
  readonly operation: number;
  readonly name: string;
  readonly document: string;
}

/** An engine that notes what it is asked by documents, and answers as the test says. */
async function open(answer: { status?: number; errorMessage?: string; document?: string } = {}) {
  const engine = new WireEngine();
  const asked: Asked[] = [];
  engine.answerDocument = (frame) => {
    const operation = frame[0] as StreamDocumentOperation;
    const { requestId, name, document } = decodeStreamDocumentRequest(frame);
    asked.push({ operation, name, document });
    const result = { status: 0, errorMessage: "", document: "", ...answer, requestId };
    return encodeStreamDocumentResult(operation, result);
  };
  const environment = new ManualEnvironment(engine);
  const client = await MillraceClient.connect({}, environment);
  return { engine, environment, client, asked };
}

describe("MillraceClient, asking about a stream by documents,", () => {
  it("describes a stream", async () => {
    const { client, asked } = await open({ document: '{"state":"ok"}' });
    assert.equal((await client.describeStream("s")).state, "ok");
    assert.deepEqual(asked, [{ operation: Operation.DescribeStream, name: "s", document: "" }]);
  });

  it("changes options alone, and with the definition in one step", async () => {
    const { client, asked } = await open();
    await client.configureStream("s", { freeExported: true });
    const definition = { name: "s", strategyOnFull: StrategyOnFull.RejectNewData, maxSize: 2 ** 30 };
    await client.updateMessageStream(definition, { freeExported: false });
    assert.deepEqual(
      asked.map(({ operation, name }) => [operation, name]),
      [
        [Operation.ConfigureStream, "s"],
        [Operation.ConfigureStream, "s"],
      ],
    );
    assert.deepEqual(JSON.parse(asked[0]!.document), { options: { freeExported: true } });
    const change = JSON.parse(asked[1]!.document) as { definition: { maxSize: number }; options: unknown };
    assert.deepEqual([change.definition.maxSize, change.options], [2 ** 30, { freeExported: false }]);
  });

  it("creates a stream with options by an operation of its own, and without them as any client does", async () => {
    const { engine, client, asked } = await open();
    const definition = { name: "s", strategyOnFull: StrategyOnFull.RejectNewData };
    await client.createMessageStream(definition, { freeExported: true });
    assert.equal(asked[0]!.operation, Operation.CreateStream);
    await client.createMessageStream(definition);
    assert.deepEqual([asked.length, engine.streams.has("s")], [1, true]);
  });

  it("checks a definition before it sends it", async () => {
    const { client, asked } = await open();
    const definition = { name: "s", strategyOnFull: StrategyOnFull.RejectNewData, maxSize: 1 };
    await assert.rejects(client.createMessageStream(definition, { freeExported: true }), /maxSize is 1/);
    const large = { ...definition, maxSize: 2000, streamSegmentSize: 3000 };
    await assert.rejects(client.updateMessageStream(large, {}), /streamSegmentSize is 3000, above/);
    assert.deepEqual(asked, []);
  });

  it("hears the engine's refusal, and what is no description", async () => {
    const refused = await open({ status: StatusCode.UpdateNotAllowed, errorMessage: "no" });
    await assert.rejects(refused.client.configureStream("s", {}), code("UPDATE_NOT_ALLOWED"));
    const nonsense = await open({ document: "{" });
    await assert.rejects(nonsense.client.describeStream("s"), code("MALFORMED_FRAME"));
  });

  it("fails when the connection breaks, and when there is never an answer", async () => {
    const { engine, environment, client } = await open({ document: "{}" });
    engine.silent.add(Operation.DescribeStream);
    const cut = assert.rejects(client.describeStream("s"), code("CONNECTION_CLOSED"));
    await settled();
    environment.cut();
    await cut;
    await environment.advance(1000);
    const late = assert.rejects(client.describeStream("s"), code("UNKNOWN_OUTCOME"));
    await environment.advance(CLIENT_REQUEST_TIMEOUT_MS);
    await late;
    const answer = { requestId: 1, status: 0, errorMessage: "", document: "{}" };
    environment.sendRaw(encodeStreamDocumentResult(Operation.DescribeStream, answer));
    engine.silent.clear();
    assert.deepEqual(await client.describeStream("s"), {});
    assert.equal(client.reconnects, 1);
    assert.equal(environment.timerCount, 0);
  });
});
