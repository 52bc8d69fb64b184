import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { describe, it, type TestContext } from "node:test";
import { PutRecordsCommand, type KinesisClient } from "@aws-sdk/client-kinesis";
import { ChildProcesses } from "../../src/cli/demo-child.ts";
import { messageHead } from "../../src/cli/demo-compare.ts";
import { startEmulator } from "../../src/cli/demo-emulator.ts";
import { JournalWriter } from "../../src/cli/demo-journal.ts";
import { checkKinesisStream, createKinesisStream, openKinesis } from "../../src/cli/demo-kinesis.ts";
import { compareKinesis } from "../../src/cli/demo-readback.ts";

const RUN = "0a1b2c3d";
const NAME = "Readings";

async function openEmulator(t: TestContext): Promise<{ client: KinesisClient; controller: AbortController }> {
  const controller = new AbortController();
  const processes = new ChildProcesses(controller);
  t.after(async () => processes.killAll());
  const client = openKinesis(await startEmulator(processes, [NAME]));
  t.after(() => client.destroy());
  return { client, controller };
}

function message(number: number): Buffer {
  return Buffer.from(`${messageHead(RUN, number)},"value":${number}}`);
}

async function put(client: KinesisClient, payloads: readonly Buffer[]): Promise<void> {
  for (let at = 0; at < payloads.length; at += 500) {
    const records = payloads.slice(at, at + 500).map((Data, index) => {
      return { Data, PartitionKey: `key ${at + index}` };
    });
    const { FailedRecordCount } = await client.send(
      new PutRecordsCommand({ StreamName: NAME, Records: records }),
    );
    assert.equal(FailedRecordCount, 0);
  }
}

function writeJournal(t: TestContext, count: number): string {
  const directory = mkdtempSync(path.join(tmpdir(), "millrace-journal-"));
  t.after(() => rmSync(directory, { recursive: true }));
  const file = path.join(directory, "readings.journal");
  const journal = new JournalWriter(file);
  for (let number = 0; number < count; number++) journal.add(message(number));
  journal.close();
  return file;
}

describe("the emulator", () => {
  it("gives back every record of every shard, over many pages", async (t) => {
    const { client } = await openEmulator(t);
    const count = 24_000;
    await createKinesisStream(client, { name: NAME, shardCount: 2 });
    await put(
      client,
      Array.from({ length: count }, (_, number) => message(number)),
    );
    const shown: number[] = [];
    const comparison = await compareKinesis(client, {
      name: NAME,
      run: RUN,
      journal: writeJournal(t, count),
      sinceMs: 0,
      isShared: false,
      show: (comparedCount) => shown.push(comparedCount),
    });
    assert.deepEqual(comparison.differences(), {
      correct: count,
      missing: 0,
      wrong: 0,
      duplicates: 0,
      outOfOrder: 0,
    });
    assert.equal(shown.length, 24);
  });

  it("does not hide a record that is missing, changed or there twice", async (t) => {
    const { client } = await openEmulator(t);
    await createKinesisStream(client, { name: NAME, shardCount: 3 });
    const payloads = Array.from({ length: 100 }, (_, number) => message(number));
    payloads[20] = Buffer.from(payloads[20]!.toString().replace('"value":20', '"value":21'));
    payloads.push(message(30));
    payloads.splice(10, 1);
    await put(client, payloads);
    const comparison = await compareKinesis(client, {
      name: NAME,
      run: RUN,
      journal: writeJournal(t, 100),
      sinceMs: 0,
      isShared: false,
      show: () => undefined,
    });
    const { correct, missing, wrong, duplicates } = comparison.differences();
    assert.deepEqual(
      { correct, missing, wrong, duplicates },
      { correct: 98, missing: 1, wrong: 1, duplicates: 1 },
    );
  });

  it("names a stream that does not exist, and how to make it", async (t) => {
    const { client } = await openEmulator(t);
    await assert.rejects(
      checkKinesisStream(client, { name: NAME, endpoint: "http://127.0.0.1:1" }),
      /Kinesis stream "Readings" at http:\/\/127\.0\.0\.1:1: ResourceNotFoundException.*--stream-name Readings/,
    );
  });
});
