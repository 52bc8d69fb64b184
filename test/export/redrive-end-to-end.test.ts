import assert from "node:assert/strict";
import { mkdirSync, readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { setTimeout as after } from "node:timers/promises";
import { MillraceClient } from "../../src/client/millrace-client.ts";
import { StrategyOnFull } from "../../src/core/stream-definition.ts";
import type { StreamDescription } from "../../src/core/stream-description.ts";
import { EngineProcess, temporaryDirectory } from "../support/engine-process.ts";
import { HttpTarget } from "../support/http-target.ts";
import { contentOf, MIB } from "../support/s3-bench.ts";
import { assertBalanced, taskStream, Uploads } from "./s3-uploads.ts";

const timeout = 120_000;

async function describedOnce(
  client: MillraceClient,
  stream: string,
  isMet: (description: StreamDescription) => boolean,
): Promise<StreamDescription> {
  const deadlineMs = Date.now() + 60_000;
  for (;;) {
    const description = await client.describeStream(stream);
    if (isMet(description)) return description;
    assert.ok(Date.now() < deadlineMs, JSON.stringify(description));
    await after(20);
  }
}

function isRedriven({ setAside }: StreamDescription): boolean {
  return (setAside?.redrives ?? []).every(({ position, endSequence }) => position >= endSequence);
}

test(
  "S3 tasks that were set aside are uploaded by a redrive, in order and told of once, and a kill costs no part",
  { timeout },
  async (t) => {
    const uploads = await Uploads.start(t, { buckets: ["bucket", "late"] });
    let isMissing = true;
    const deny = { kind: "error", status: 404, code: "NoSuchBucket" } as const;
    uploads.server.answer = ({ bucket }) => (isMissing && bucket === "late" ? deny : undefined);
    await uploads.createStreams();
    const large = contentOf(21 * MIB);
    const tasks = [
      { inputUrl: uploads.file("one", "one"), bucket: "late", key: "one" },
      { inputUrl: uploads.file("large", large), bucket: "late", key: "large" },
      { inputUrl: uploads.file("other", "other"), bucket: "bucket", key: "other" },
    ];
    for (const task of tasks) await uploads.append(task);
    const before = await uploads.untilPassed();
    assert.deepEqual([before.exported.messages, before.setAside.messages], [1, 2]);
    const told = (await uploads.told()).length;

    isMissing = false;
    uploads.server.answer = ({ kind, partNumber }) =>
      kind === "part" && partNumber === 3 ? { kind: "keep" } : undefined;
    const { exporters } = await uploads.client.redriveExports("tasks");
    assert.deepEqual(exporters, [{ identifier: "uploads", messages: 2 }]);
    await uploads.server.until(() => uploads.server.partsOf("late").length === 3);
    uploads.client.close();
    await uploads.engine.kill();
    uploads.server.answer = () => undefined;
    await uploads.restart();
    // The restart has ended it; the next one goes on.
    assert.deepEqual((await uploads.client.redriveExports("tasks")).exporters, [
      { identifier: "uploads", messages: 1 },
    ]);
    await describedOnce(uploads.client, "tasks", isRedriven);
    assert.equal((await uploads.server.object("late", "one"))?.body.toString(), "one");
    assert.ok((await uploads.server.object("late", "large"))?.body.equals(large));
    const parts = uploads.server.log.filter((request) => request.startsWith("part"));
    assert.deepEqual(parts, ["part 1", "part 2", "part 3", "part 4", "part 5"]);
    assert.equal(uploads.server.openUploadCount, 0);
    const statuses = (await uploads.told()).slice(told);
    assert.deepEqual(
      statuses.map(({ status, statusContext }) => [status, statusContext.sequenceNumber]),
      [
        [2, 0],
        [0, 0],
        [2, 1],
        [0, 1],
      ],
    );
    assertBalanced(await uploads.untilPassed());
    assert.deepEqual((await uploads.client.redriveExports("tasks")).exporters, []);
  },
);

test("the upload of a redrive that a kill ended is ended with its exporter", { timeout }, async (t) => {
  const uploads = await Uploads.start(t, { buckets: ["late"] });
  let isMissing = true;
  uploads.server.answer = () =>
    isMissing ? { kind: "error", status: 404, code: "NoSuchBucket" } : undefined;
  await uploads.createStreams();
  const inputUrl = uploads.file("large", contentOf(16 * MIB));
  await uploads.append({ inputUrl, bucket: "late", key: "large" });
  assert.equal((await uploads.untilPassed()).setAside.messages, 1);
  isMissing = false;
  uploads.server.answer = ({ partNumber }) => (partNumber === 2 ? { kind: "hang" } : undefined);
  await uploads.client.redriveExports("tasks");
  await uploads.server.until(() => uploads.server.log.includes("part 2"));
  uploads.client.close();
  await uploads.engine.kill();
  uploads.server.answer = () => undefined;
  await uploads.restart();
  assert.equal(uploads.server.openUploadCount, 1, "the next redrive would go on with it");
  await uploads.client.updateMessageStream({ ...taskStream, exportDefinition: {} });
  await uploads.server.until(() => uploads.server.openUploadCount === 0);
  const statuses = await uploads.untilStatuses((told) => told.includes("Canceled"));
  assert.deepEqual(statuses, ["Failure", "InProgress", "Canceled"]);
});

test(
  "what one destination refused is redriven to the files that its exporter writes by then",
  { timeout },
  async (t) => {
    const target = await HttpTarget.start();
    t.after(() => target.close());
    const storeDirectory = temporaryDirectory(t);
    const spool = path.join(temporaryDirectory(t), "spool");
    mkdirSync(spool);
    const run = async (map: string): Promise<{ engine: EngineProcess; client: MillraceClient }> => {
      const env = {
        ...{ MILLRACE_EXPORT_MAP: `iotAnalytics/*=${map}`, MILLRACE_EXPORT_HTTP_INWARD: "127.0.0.0/8" },
        ...{ MILLRACE_EXPORT_FILE_DIRS: spool, AWS_REGION: "eu-central-1" },
      };
      const engine = await EngineProcess.start(t, { storeDirectory, env });
      const url = `ws://127.0.0.1:${engine.port}`;
      const client = await MillraceClient.connect({ url, token: engine.token ?? "" });
      t.after(() => client.close());
      return { engine, client };
    };
    const payloadsOf = (body: Buffer): string[] =>
      (JSON.parse(body.toString()) as { payload: string }[]).map(({ payload }) =>
        Buffer.from(payload, "base64").toString(),
      );
    target.answer = ({ body }) => ({
      kind: "status",
      status: payloadsOf(body).some((text) => text.startsWith("bad")) ? 400 : 204,
    });
    const first = await run(`http:${target.origin}/in`);
    await first.client.createMessageStream({
      name: "readings",
      strategyOnFull: StrategyOnFull.RejectNewData,
      exportDefinition: { iotAnalytics: [{ identifier: "old", iotChannel: "readings" }] },
    });
    for (const text of ["good 0", "bad 1", "good 2", "bad 3", "good 4"]) {
      await first.client.appendMessage("readings", Buffer.from(text));
    }
    const [exporter] = (
      await describedOnce(first.client, "readings", ({ exporters }) => exporters[0]?.pending.messages === 0)
    ).exporters;
    assert.deepEqual([exporter?.exported.messages, exporter?.setAside.messages], [3, 2]);
    first.client.close();
    await first.engine.kill();

    const second = await run(`file:${spool}`);
    const redriven = await second.client.redriveExports("readings");
    assert.deepEqual(redriven, {
      companion: "readings.set-aside",
      exporters: [{ identifier: "old", messages: 2 }],
      left: [],
    });
    await describedOnce(second.client, "readings", isRedriven);
    second.client.close();
    await second.engine.kill();
    const lines = readdirSync(spool)
      .filter((name) => name.includes(".jsonl"))
      .flatMap((name) => readFileSync(path.join(spool, name), "utf8").trim().split("\n"));
    const records = lines.map((line) => JSON.parse(line) as Record<string, unknown>);
    assert.deepEqual(
      records.map(({ streamName, sequenceNumber, payload }) => [
        ...[streamName, sequenceNumber, Buffer.from(String(payload), "base64").toString()],
      ]),
      [
        ["readings", 1, "bad 1"],
        ["readings", 3, "bad 3"],
      ],
    );
    // And not again.
    const third = await run(`file:${spool}`);
    assert.deepEqual((await third.client.redriveExports("readings")).exporters, []);
  },
);
