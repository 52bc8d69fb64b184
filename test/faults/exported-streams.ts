import type { MillraceClient } from "../../src/client/millrace-client.ts";
import { StrategyOnFull } from "../../src/core/stream-definition.ts";
import type { StreamDefinitionInput } from "../../src/wire/stream-definition-codec.ts";
import { FakeKinesisServer } from "../support/fake-kinesis-server.ts";
import type { CleanUp } from "../support/program.ts";

/** A Kinesis that takes everything, and the variables under which an engine finds it. */
export async function startKinesis(
  t: CleanUp,
): Promise<{ kinesis: FakeKinesisServer; kinesisEnv: Record<string, string> }> {
  const kinesis = await FakeKinesisServer.start();
  t.after(() => kinesis.close());
  const kinesisEnv = {
    AWS_ENDPOINT_URL_KINESIS: kinesis.url,
    AWS_REGION: "eu-central-1",
    AWS_ACCESS_KEY_ID: "id",
    AWS_SECRET_ACCESS_KEY: "secret",
  };
  return { kinesis, kinesisEnv };
}

/** A stream that goes to the Kinesis stream of the same name. */
export function exportedStream(
  name: string,
  changes: Partial<StreamDefinitionInput> = {},
): StreamDefinitionInput {
  return {
    name,
    strategyOnFull: StrategyOnFull.RejectNewData,
    flushOnWrite: true,
    streamSegmentSize: 4096,
    exportDefinition: { kinesis: [{ identifier: "cloud", kinesisStreamName: name }] },
    ...changes,
  };
}

export function exportedPayload(name: string, counter: number): string {
  return `${name} ${counter} ${"x".repeat(counter % 90)}`;
}

/** Appends payloads `from` to `to`, exclusive, each known by its counter. @returns the sequence number of the first */
export async function appendExported(
  client: MillraceClient,
  name: string,
  { from, to }: { from: number; to: number },
): Promise<number> {
  let first = -1;
  for (let counter = from; counter < to; counter++) {
    const sequence = await client.appendMessage(name, Buffer.from(exportedPayload(name, counter)));
    if (first < 0) first = sequence;
  }
  return first;
}

/** The counters that arrived, in order, with repetitions. */
export function arrivedCounters(kinesis: FakeKinesisServer, name: string): number[] {
  return kinesis.storedIn(name).map((payload) => Number(payload.split(" ")[1]));
}

/** Whether each of the first `count` payloads has arrived at least once. */
export function hasAllOf(kinesis: FakeKinesisServer, name: string, count: number): boolean {
  return new Set(arrivedCounters(kinesis, name)).size >= count;
}
