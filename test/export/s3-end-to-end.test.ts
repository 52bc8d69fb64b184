import assert from "node:assert/strict";
import { readdirSync, symlinkSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { setTimeout as after } from "node:timers/promises";
import { pathToFileURL } from "node:url";
import { EXPORT_PROGRESS_MS_MAX } from "../../src/core/limits.ts";
import { Persistence } from "../../src/core/stream-definition.ts";
import {
  connectOfficial,
  definition,
  type OfficialClient,
  type OfficialStatus,
  sdk,
} from "../support/official-sdk.ts";
import { contentOf, MIB } from "../support/s3-bench.ts";
import { assertBalanced, taskStream, Uploads } from "./s3-uploads.ts";

const timeout = 120_000;

async function officialStatuses(client: OfficialClient): Promise<OfficialStatus[]> {
  const options = new sdk.ReadMessagesOptions().withMaxMessageCount(100);
  const messages = await client.readMessages("status", options);
  return messages.map(({ payload }) => sdk.util.deserializeJsonBytesToObj(payload, sdk.StatusMessage));
}

test(
  "the official client's tasks are uploaded in order, and its parser reads the statuses",
  { timeout },
  async (t) => {
    const uploads = await Uploads.start(t);
    const official = await connectOfficial(t, uploads.engine);
    await official.createMessageStream(
      new sdk.MessageStreamDefinition()
        .withName("status")
        .withPersistence(sdk.Persistence.Memory)
        .withStrategyOnFull(sdk.StrategyOnFull.OverwriteOldestData),
    );
    const statusConfig = new sdk.StatusConfig()
      .withStatusLevel(sdk.StatusLevel.INFO)
      .withStatusStreamName("status");
    const exporter = new sdk.S3ExportTaskExecutorConfig()
      .withIdentifier("uploads")
      .withStatusConfig(statusConfig);
    const exports = new sdk.ExportDefinition().withS3TaskExecutor([exporter]);
    await official.createMessageStream(definition("tasks").withExportDefinition(exports));

    const content = contentOf(6 * MIB);
    const url = uploads.file("a.bin", content);
    const task = (bucket: string, key: string) =>
      sdk.util.validateAndSerializeToJsonBytes(
        new sdk.S3ExportTaskDefinition()
          .withInputUrl(url)
          .withBucket(bucket)
          .withKey(key)
          .withUserMetadata({ Site: "plant" }),
      );
    assert.equal(await official.appendMessage("tasks", task("bucket", "a/!{timestamp:yyyy/MM/dd}/b")), 0);
    assert.equal(await official.appendMessage("tasks", task("nobody", "k")), 1);
    assert.equal(await official.appendMessage("tasks", task("bucket", "last")), 2);
    await uploads.untilPassed();

    const statuses = await officialStatuses(official);
    assert.deepEqual(
      statuses.map(({ status, statusContext }) => [status, statusContext.sequenceNumber]),
      [
        [sdk.Status.InProgress, 0],
        [sdk.Status.Success, 0],
        [sdk.Status.Failure, 1],
        [sdk.Status.InProgress, 2],
        [sdk.Status.Success, 2],
      ],
    );
    const [first, , failure] = statuses;
    assert.equal(first!.eventType, sdk.EventType.S3Task);
    assert.equal(first!.statusLevel, sdk.StatusLevel.INFO);
    assert.equal(first!.statusContext.s3ExportTaskDefinition.inputUrl, url);
    assert.equal(first!.statusContext.exportIdentifier, "uploads");
    assert.equal(first!.statusContext.streamName, "tasks");
    assert.ok(Math.abs(first!.timestampEpochMs - Date.now()) < timeout);
    assert.match(failure!.message, /NoSuchBucket/);
    const { key } = uploads.server.requests.find(({ kind }) => kind === "begin")!;
    assert.match(key, /^a\/\d{4}\/\d\d\/\d\d\/b$/);
    const stored = await uploads.server.object("bucket", key);
    assert.ok(stored !== undefined && stored.body.equals(content));
    assert.equal(stored.headers.get("x-amz-meta-site"), "plant");
    const account = await uploads.untilPassed();
    assert.equal(account.exported.messages, 2);
    assert.equal(account.setAside.messages, 1);
    assertBalanced(account);
  },
);

test(
  "an upload goes on after kill -9 with the parts that S3 has, and its final status is stored",
  { timeout },
  async (t) => {
    const uploads = await Uploads.start(t);
    await uploads.createStreams();
    const content = contentOf(31 * MIB);
    // The third part arrives, and nobody hears of it.
    uploads.server.answer = ({ kind, partNumber }) =>
      kind === "part" && partNumber === 3 ? { kind: "keep" } : undefined;
    await uploads.append({ inputUrl: uploads.file("a", content), bucket: "bucket", key: "k" });
    await uploads.server.until(() => uploads.server.log.includes("part 3"));
    await uploads.server.until(() => uploads.server.partsOf("bucket").length === 3);
    uploads.client.close();
    await uploads.engine.kill();
    uploads.server.answer = () => undefined;
    await uploads.restart();
    const exporter = await uploads.untilPassed();
    assertBalanced(exporter);
    const parts = uploads.server.log.filter((request) => request.startsWith("part"));
    assert.deepEqual(parts, ["part 1", "part 2", "part 3", "part 4", "part 5", "part 6", "part 7"]);
    assert.ok((await uploads.server.object("bucket", "k"))?.body.equals(content));
    assert.deepEqual(await uploads.statuses(), ["InProgress", "Success"]);
  },
);

test(
  "a task whose stream or export is removed is told of as canceled, and its parts are removed",
  { timeout },
  async (t) => {
    const uploads = await Uploads.start(t);
    await uploads.createStreams(Persistence.Memory);
    const task = { inputUrl: uploads.file("a", contentOf(21 * MIB)), bucket: "bucket", key: "k" };
    uploads.server.answer = ({ kind, partNumber }) =>
      kind === "part" && partNumber === 2 ? { kind: "error", status: 503, code: "SlowDown" } : undefined;
    const begun = (parts: number): Promise<void> =>
      uploads.server.until(
        () => uploads.server.log.filter((request) => request === "part 2").length >= parts,
      );
    await uploads.append(task);
    await begun(1);
    await uploads.client.updateMessageStream({ ...taskStream, exportDefinition: {} });
    assert.deepEqual(await uploads.untilStatuses((statuses) => statuses.includes("Canceled")), [
      "InProgress",
      "Canceled",
    ]);
    await uploads.server.until(() => uploads.server.openUploadCount === 0);

    // The exporter is another one now, which begins with the first message.
    await uploads.client.updateMessageStream(taskStream);
    const seen = uploads.server.log.filter((request) => request === "part 2").length;
    await begun(seen + 1);
    assert.equal(uploads.server.openUploadCount, 1);
    await uploads.client.deleteMessageStream("tasks");
    assert.deepEqual(await uploads.statuses(), ["InProgress", "Canceled", "InProgress", "Canceled"]);
    assert.equal(uploads.server.openUploadCount, 0);
    assert.equal(await uploads.server.object("bucket", "k"), undefined);
  },
);

test(
  "a part that is on its way holds up neither the deletion of its stream nor what another sends",
  { timeout },
  async (t) => {
    const uploads = await Uploads.start(t);
    await uploads.createStreams();
    uploads.server.answer = ({ kind, partNumber }) =>
      kind === "part" && partNumber === 2 ? { kind: "hang" } : undefined;
    const inputUrl = uploads.file("a", contentOf(21 * MIB));
    await uploads.append({ inputUrl, bucket: "bucket", key: "k" });
    await uploads.server.until(() => uploads.server.log.includes("part 2"));
    const beganMs = performance.now();
    await uploads.client.deleteMessageStream("tasks");
    const seconds = (performance.now() - beganMs) / 1000;
    // By itself the request is given up when nothing moves for so long.
    assert.ok(seconds < EXPORT_PROGRESS_MS_MAX / 2000, `${seconds} s`);
    assert.equal(uploads.server.openUploadCount, 0);
    assert.deepEqual(await uploads.statuses(), ["InProgress", "Canceled"]);
    // Nobody takes the endpoint for one that fails.
    await uploads.client.createMessageStream(taskStream);
    await uploads.append({ inputUrl: uploads.file("b", "b"), bucket: "bucket", key: "b" });
    assert.equal((await uploads.untilPassed()).exported.messages, 1);
    assert.ok((performance.now() - beganMs) / 1000 < EXPORT_PROGRESS_MS_MAX / 2000 + seconds);
  },
);

test(
  "an upload whose exporter was removed just before a kill is ended after the restart, once S3 can be reached",
  { timeout },
  async (t) => {
    const uploads = await Uploads.start(t);
    await uploads.createStreams();
    const inputUrl = uploads.file("a", contentOf(21 * MIB));
    uploads.server.answer = ({ kind, partNumber }) =>
      kind === "abort" || (kind === "part" && partNumber === 2) ? { kind: "hang" } : undefined;
    await uploads.append({ inputUrl, bucket: "bucket", key: "k" });
    await uploads.server.until(() => uploads.server.log.includes("part 2"));
    await uploads.client.updateMessageStream({ ...taskStream, exportDefinition: {} });
    await uploads.server.until(() => uploads.server.log.includes("abort"));
    uploads.client.close();
    await uploads.engine.kill();
    assert.equal(uploads.server.openUploadCount, 1);
    const begun = uploads.server.log.filter((request) => request === "abort").length;
    // The network is not there yet: a next start tries again.
    uploads.server.answer = ({ kind }) => (kind === "abort" ? { kind: "error", status: 503 } : undefined);
    await uploads.restart();
    await uploads.server.until(
      () => uploads.server.log.filter((request) => request === "abort").length > begun,
    );
    uploads.client.close();
    await uploads.engine.stop();
    assert.equal(uploads.server.openUploadCount, 1);
    uploads.server.answer = () => undefined;
    await uploads.restart();
    await uploads.server.until(() => uploads.server.openUploadCount === 0);
    assert.deepEqual(await uploads.untilStatuses((statuses) => statuses.includes("Canceled")), [
      "InProgress",
      "Canceled",
    ]);
    const [, canceled] = await uploads.told();
    assert.deepEqual(
      [canceled!.statusContext.exportIdentifier, canceled!.statusContext.streamName],
      ["uploads", "tasks"],
    );
    // Nothing of the exporter is left.
    const names = (): string[] =>
      readdirSync(uploads.engine.storeDirectory, { recursive: true, encoding: "utf8" });
    while (names().some((name) => /\.(upload|cursor)$/.test(name)))
      await after(20, undefined, { signal: t.signal });
  },
);

test(
  "a status stream that is missing holds up nothing; what it does not get is counted",
  { timeout },
  async (t) => {
    const uploads = await Uploads.start(t);
    await uploads.client.createMessageStream(taskStream);
    const inputUrl = uploads.file("a", "x");
    for (const key of ["one", "two"]) await uploads.append({ inputUrl, bucket: "bucket", key });
    assert.equal((await uploads.untilPassed()).exported.messages, 2);
    assert.match(await uploads.engine.metrics(), /^millrace_export_notices_dropped_total 4$/m);
  },
);

test(
  "a task reads nothing beyond the directories that the machine's owner has listed",
  { timeout },
  async (t) => {
    const uploads = await Uploads.start(t);
    await uploads.createStreams();
    const token = path.join(uploads.engine.storeDirectory, "store", "token");
    symlinkSync(token, path.join(uploads.files, "link"));
    symlinkSync("/", path.join(uploads.files, "root"));
    const urls = [
      "file:///etc/passwd",
      pathToFileURL(token).href,
      `${pathToFileURL(uploads.files).href}/link`,
      `${pathToFileURL(uploads.files).href}/root/etc/passwd`,
      `${pathToFileURL(uploads.files).href}/../../../../../etc/passwd`,
      "file:///proc/self/environ",
      "http://169.254.169.254/latest/meta-data/",
    ];
    for (const inputUrl of urls) await uploads.append({ inputUrl, bucket: "bucket", key: "stolen" });
    const exporter = await uploads.untilPassed();
    assert.equal(exporter.setAside.messages, urls.length);
    assertBalanced(exporter);
    assert.deepEqual(uploads.server.log, []);
    assert.deepEqual(
      await uploads.statuses(),
      urls.map(() => "Failure"),
    );
  },
);
