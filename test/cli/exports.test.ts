import assert from "node:assert/strict";
import path from "node:path";
import { test } from "node:test";
import { setTimeout as after } from "node:timers/promises";
import { exporterStatuses, type ExporterStatus } from "../../src/cli/exports-report.ts";
import { MillraceClient } from "../../src/client/millrace-client.ts";
import type { StreamDescription } from "../../src/core/stream-description.ts";
import { EngineProcess } from "../support/engine-process.ts";
import { FakeKinesisServer } from "../support/fake-kinesis-server.ts";
import { runProgram, type CleanUp, type Finished } from "../support/program.ts";

const secret = "wJalrXUtnFEMI-never-to-be-shown";

async function startWithKinesis(t: CleanUp) {
  const kinesis = await FakeKinesisServer.start();
  t.after(() => kinesis.close());
  const env = {
    AWS_REGION: "eu-central-1",
    AWS_ACCESS_KEY_ID: "AKIDEXAMPLE",
    AWS_SECRET_ACCESS_KEY: secret,
    AWS_ENDPOINT_URL_KINESIS: `http://127.0.0.1:${kinesis.port}`,
  };
  return { kinesis, env, engine: await EngineProcess.start(t, { env }) };
}

function succeeded({ code, stdout, stderr }: Finished): string {
  assert.deepEqual([code, stderr], [0, ""]);
  return stdout;
}

async function statusOf(engine: EngineProcess, stream: string): Promise<ExporterStatus[]> {
  return JSON.parse(succeeded(await engine.run(["exports", "status", stream, "--json"]))) as ExporterStatus[];
}

/** Asks until it is so; a test that waits in vain ends by its own time. The same as the command, without a process each time. */
async function waitFor(
  engine: EngineProcess,
  stream: string,
  isSo: (status: ExporterStatus) => boolean,
): Promise<void> {
  const { port, token } = engine;
  const url = `ws://127.0.0.1:${port}`;
  const client = await MillraceClient.connect({ url, ...(token !== undefined && { token }) });
  try {
    while (!isSo(exporterStatuses([await client.describeStream(stream)])[0]!)) await after(20);
  } finally {
    client.close();
  }
}

test("millrace exports, with an engine that runs,", { timeout: 240_000 }, async (t) => {
  const { kinesis, env, engine } = await startWithKinesis(t);

  await t.test("shows an exporter that keeps up, as text and as JSON", async () => {
    succeeded(await engine.run(["streams", "create", "steady", "--kinesis", "steady", "--priority", "2"]));
    succeeded(await engine.run(["append", "steady"], "one\ntwo\nthree\n"));
    await waitFor(engine, "steady", ({ position }) => position === 3);
    const [status, ...others] = await statusOf(engine, "steady");
    assert.deepEqual(others, []);
    const { stream, exporter, kind, state, priority, pending, errorMessage } = status!;
    assert.deepEqual(
      { stream, exporter, kind, state, priority, pending, errorMessage },
      {
        stream: "steady",
        exporter: "kinesis-steady",
        kind: "kinesis",
        state: "idle",
        priority: 2,
        pending: { messages: 0, payloadBytes: 0 },
        errorMessage: "",
      },
    );
    assert.deepEqual(
      [status!.oldestPendingAgeMs, status!.drainedInMs, status!.lossInMs, status!.lastError],
      [null, 0, null, null],
    );
    assert.ok(status!.lastSuccessTimeMs! <= Date.now() && status!.lastSuccessTimeMs! > Date.now() - 60_000);
    assert.ok(status!.exportRate.messagesPerSecond > 0 && status!.appendRate.messagesPerSecond > 0);
    const text = succeeded(await engine.run(["exports", "status", "steady"]));
    assert.match(text, /^steady: [\d.]+ messages, [\d.]+ B appended a second, full in /);
    assert.match(text, /^kinesis-steady +idle +0 +0 B +- +[\d.]+ +now +never$/m);
    assert.match(text, /^ {2}kinesis-steady: kinesis, priority 2, at 3, last success 2\S+Z$/m);
  });

  await t.test("says what failed, when it is tried again, what waits and what comes of it", async () => {
    kinesis.answer = () => ({
      kind: "error",
      status: 400,
      type: "AccessDeniedException",
      message: "not authorized to perform kinesis:PutRecords",
    });
    const create = "--kinesis failing --strategy overwrite --max-size 20480 --segment-size 2048";
    succeeded(await engine.run(["streams", "create", "failing", ...create.split(" ")]));
    succeeded(await engine.run(["append", "failing"], "0123456789\n".repeat(100)));
    const before = Date.now();
    await waitFor(engine, "failing", ({ state }) => state === "backoff");
    const [status] = await statusOf(engine, "failing");
    assert.match(status!.errorMessage, /not authorized to perform kinesis:PutRecords/);
    assert.equal(status!.lastError!.text, status!.errorMessage);
    assert.ok(status!.nextTryTimeMs! > before, "the next try is to come");
    assert.deepEqual(status!.pending, { messages: 100, payloadBytes: 1000 });
    assert.ok(status!.oldestPendingAgeMs! >= 0 && status!.oldestPendingAgeMs! < 240_000);
    assert.equal(status!.drainedInMs, null);
    // 3,400 of 20,480 bytes are there, a segment goes at once, and it arrives at more than a message in two minutes.
    assert.ok(status!.lossInMs! > 0 && status!.lossInMs! < 86_400_000, String(status!.lossInMs));
    assert.equal(status!.streamFullInMs, null);
    const shown = await engine.run(["exports", "status"]);
    const text = succeeded(shown);
    assert.match(
      text,
      /^kinesis-failing +backoff +100 +1000 B +[\d.]+ (s|min) +0 +never +[\d.]+ (s|min|h)$/m,
    );
    assert.match(text, /no success yet, next try 2\S+Z$/m);
    assert.match(text, /^ {2}failing: .*kinesis:PutRecords/m);
    const described = succeeded(await engine.run(["streams", "describe", "failing"]));
    assert.match(described, /^kinesis-failing +backoff /m);
    for (const line of text.split("\n")) assert.ok(line.length <= 100, line);
    const json = succeeded(await engine.run(["exports", "status", "--json"]));
    for (const output of [text, described, json]) assert.ok(!output.includes(secret), output);
  });

  await t.test("tries at once what waits after a failure", async () => {
    kinesis.answer = () => ({ kind: "accept" });
    const retried = await engine.run(["exports", "retry", "failing", "kinesis-failing"]);
    assert.equal(succeeded(retried), "retried kinesis-failing of failing\n");
    // By itself it would have waited for a minute.
    await waitFor(engine, "failing", ({ position }) => position === 100);
    const [status] = await statusOf(engine, "failing");
    assert.deepEqual([status!.state, status!.errorMessage], ["idle", ""]);
    assert.match(status!.lastError!.text, /not authorized/);
    const text = succeeded(await engine.run(["exports", "status", "failing"]));
    assert.match(text, /^ {2}last error 2\S+Z: .*not authorized/m);
    const all = JSON.parse(succeeded(await engine.run(["exports", "retry", "--json"]))) as unknown;
    assert.deepEqual(all, {
      retried: [
        { stream: "failing", exporters: ["kinesis-failing"] },
        { stream: "steady", exporters: ["kinesis-steady"] },
      ],
    });
  });

  await t.test("tries all that it may, and says what refused", async () => {
    const made = await engine.run(["tokens", "create", "partly", "--manage", "steady", "--read", "*"]);
    assert.equal(made.code, 0);
    const MILLRACE_TOKEN = made.stdout.trim();
    const run = (args: readonly string[]): Promise<Finished> => {
      const program = path.join(import.meta.dirname, "..", "..", "src", "millrace.js");
      return runProgram(t, [program, "exports", "retry", ...args], {
        env: { ...engine.env, MILLRACE_TOKEN },
        input: "",
      });
    };
    let retried = await run([]);
    // The engine sees the file of a token within moments.
    while (/the token was refused/.test(retried.stderr)) retried = await run([]);
    assert.equal(retried.stdout, "retried kinesis-steady of steady\n", retried.stderr);
    assert.equal(retried.code, 1);
    const [refusal, summary, ...more] = retried.stderr.trim().split("\n");
    assert.match(refusal!, /^millrace: Token "partly" (may not|has no right).*"failing"/);
    assert.deepEqual([summary, more], ["millrace: Cannot retry exports of 1 of 2 streams", []]);
    const json = await run(["--json"]);
    const told = JSON.parse(json.stdout) as { retried: unknown; failed: { stream: string; error: string }[] };
    assert.equal(json.code, 1);
    assert.deepEqual(told.retried, [{ stream: "steady", exporters: ["kinesis-steady"] }]);
    assert.deepEqual(
      told.failed.map(({ stream }) => stream),
      ["failing"],
    );
  });

  await t.test("sends again what was set aside", async () => {
    kinesis.answer = ({ data }) =>
      data.some((text) => text.startsWith("bad"))
        ? { kind: "error", status: 400, type: "ValidationException", message: "not like this" }
        : { kind: "accept" };
    succeeded(await engine.run(["streams", "create", "refused", "--kinesis", "refused"]));
    const nothing = await engine.run(["exports", "redrive", "refused"]);
    assert.equal(succeeded(nothing), "nothing of refused is set aside\n");
    succeeded(await engine.run(["append", "refused"], "good 0\nbad 1\ngood 2\n"));
    await waitFor(engine, "refused", ({ position }) => position === 3);
    const { lastError } = (await statusOf(engine, "refused"))[0]!;
    assert.match(
      lastError!.text,
      /^set aside 1 message in stream "refused\.set-aside", with sequence number 1: .* sends it again$/,
    );
    kinesis.answer = () => ({ kind: "accept" });
    const redriven = await engine.run(["exports", "redrive", "refused", "kinesis-refused"]);
    assert.equal(succeeded(redriven), "redriving 1 message of kinesis-refused of refused\n");
    await kinesis.until(() => kinesis.storedIn("refused").includes("bad 1"));
    const unknown = await engine.run(["exports", "redrive", "refused", "x"]);
    assert.deepEqual([unknown.code, unknown.stdout], [1, ""]);
    assert.match(unknown.stderr, /no exporter "x"/);
  });

  await t.test("pauses, and goes on after a restart only when it is resumed", async (t) => {
    succeeded(await engine.run(["streams", "create", "held", "--kinesis", "held", "--kinesis", "other"]));
    const paused = await engine.run(["exports", "pause", "held"]);
    assert.equal(succeeded(paused), "paused kinesis-held, kinesis-other of held\n");
    const resumed = await engine.run(["exports", "resume", "held", "kinesis-other", "--json"]);
    assert.deepEqual(JSON.parse(succeeded(resumed)), {
      resumed: [{ stream: "held", exporters: ["kinesis-other"] }],
    });
    succeeded(await engine.run(["append", "held"], "one\ntwo\n"));
    await kinesis.until(() => kinesis.stored.get("other")?.length === 2);
    const refused = await engine.run(["exports", "retry", "held", "kinesis-held"]);
    assert.deepEqual([refused.code, refused.stdout], [1, ""]);
    assert.match(
      refused.stderr,
      /^millrace: Cannot retry exports of stream "held": exporter "kinesis-held" is paused/,
    );
    await engine.stop();
    const again = await EngineProcess.start(t, { env, storeDirectory: engine.storeDirectory });
    const statuses = await statusOf(again, "held");
    assert.deepEqual(
      statuses.map(({ exporter, state, pending }) => [exporter, state, pending.messages]),
      [
        ["kinesis-held", "paused", 2],
        ["kinesis-other", "idle", 0],
      ],
    );
    // Nobody saw them arrive in this process: the log knows when they were taken.
    const age = statuses[0]!.oldestPendingAgeMs;
    assert.ok(age !== null && age > 0 && age < 240_000, String(age));
    assert.equal(kinesis.stored.get("held"), undefined);
    succeeded(await again.run(["exports", "resume", "held"]));
    await kinesis.until(() => kinesis.stored.get("held")?.length === 2);
    const { stdout } = await again.run(["streams", "describe", "held", "--json"]);
    assert.deepEqual((JSON.parse(stdout) as StreamDescription).options, { freeExported: false });
    await again.stop();
  });
});

test("millrace exports fails, and says why, when it cannot do what was asked", async (t) => {
  const engine = await EngineProcess.start(t);
  succeeded(await engine.run(["streams", "create", "plain"]));
  for (const [args, message] of [
    [["status", "nowhere"], /nowhere/],
    [["pause", "nowhere"], /nowhere/],
    [["retry", "nowhere"], /nowhere/],
    [["pause", "plain"], /^millrace: Cannot pause exports of stream "plain": it has no exporters\n$/],
    [
      ["resume", "plain", "x"],
      /^millrace: Cannot resume exports of stream "plain": it has no exporter "x"\n$/,
    ],
    [["retry", "plain", "x"], /^millrace: Cannot retry exports of stream "plain": it has no exporter "x"\n$/],
    [["retry", "plain"], /^millrace: Cannot retry: no exporter of stream "plain" may send\n$/],
    [["retry"], /^millrace: Cannot retry: no exporter of any stream may send\n$/],
  ] as const) {
    const { code, stdout, stderr } = await engine.run(["exports", ...args]);
    assert.deepEqual([code, stdout], [1, ""], args.join(" "));
    assert.match(stderr, message);
  }
  assert.equal((await engine.run(["exports", "pause"])).code, 2);
  assert.equal(
    succeeded(await engine.run(["exports", "status", "plain"])),
    "stream plain has no exporters\n",
  );
  assert.equal(succeeded(await engine.run(["exports", "status", "--json"])), "[]\n");
  for (const name of ["status", "pause", "resume", "retry", "redrive"]) {
    const help = succeeded(await engine.run(["exports", name, "--help"]));
    assert.match(help, new RegExp(`^Usage: millrace exports ${name} `));
  }
});
