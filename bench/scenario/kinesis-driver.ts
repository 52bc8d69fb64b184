// The Kinesis SDK alone, in a process of its own: `node kinesis-driver.js`. Each order over IPC is a run, answered by its result.
import { randomUUID } from "node:crypto";
import { KinesisClient, PutRecordsCommand } from "@aws-sdk/client-kinesis";
import { NodeHttpHandler } from "@smithy/node-http-handler";
import { KINESIS_RECORDS_MAX } from "../../src/core/kinesis-limits.ts";
import { createInferenceDataSet } from "../data-set.ts";

export interface DriverOrder {
  readonly messageCount: number;
  readonly inFlight: number;
}

export interface DriverResult {
  readonly elapsedS: number;
  readonly cpuS: number;
}

const DATA_SET_MESSAGES = 32_768;

// As in an exporter: keep-alive, no retries of its own. Where to, and as whom, it finds in the environment.
const client = new KinesisClient({ requestHandler: new NodeHttpHandler(), maxAttempts: 1 });
const { messages } = createInferenceDataSet(DATA_SET_MESSAGES);
let next = 0;

async function putBatch(count: number): Promise<void> {
  const Records = Array.from({ length: count }, () => {
    const Data = messages[next % messages.length]!;
    next += 1;
    return { Data, PartitionKey: randomUUID() };
  });
  const answer = await client.send(new PutRecordsCommand({ StreamName: "target", Records }));
  if (answer.Records?.length !== count || answer.FailedRecordCount !== 0) throw new Error("a record failed");
}

async function run({ messageCount, inFlight }: DriverOrder): Promise<DriverResult> {
  let left = messageCount;
  const putOnAndOn = async (): Promise<void> => {
    while (left > 0) {
      const count = Math.min(left, KINESIS_RECORDS_MAX);
      left -= count;
      await putBatch(count);
    }
  };
  const startMs = performance.now();
  const cpu = process.cpuUsage();
  await Promise.all(Array.from({ length: inFlight }, putOnAndOn));
  const { user, system } = process.cpuUsage(cpu);
  return { elapsedS: (performance.now() - startMs) / 1000, cpuS: (user + system) / 1e6 };
}

process.on("message", (order: DriverOrder) => {
  void run(order).then((result) => process.send!(result));
});
