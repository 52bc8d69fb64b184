import assert from "node:assert/strict";
import { cpSync, readdirSync, readFileSync } from "node:fs";
import { it } from "node:test";
import { MillraceClient, StrategyOnFull } from "../../src/client/index.ts";
import { EngineProcess } from "../support/engine-process.ts";
import { installation } from "../support/native-addon.ts";

const timeout = 300_000;
const COUNT = 3000;
const payloadOf = (index: number): string => `{"reading":${index},"label":"person"}`;

async function connect(engine: EngineProcess): Promise<MillraceClient> {
  const url = `ws://127.0.0.1:${engine.port}`;
  return MillraceClient.connect({
    url,
    ...(engine.token && { token: engine.token }),
  });
}

async function readAll(client: MillraceClient): Promise<string[]> {
  const payloads: string[] = [];
  for await (const { payload } of await client.subscribe("raw", { from: 0 })) {
    payloads.push(Buffer.from(payload).toString());
    if (payloads.length === COUNT) break;
  }
  return payloads;
}

it(
  "an engine on arm64 stores what it acknowledged, over kill -9, with addon and names of threads",
  { timeout },
  async (t) => {
    const nodePath = process.env["MILLRACE_TEST_NODE_ARM64"];
    const addon = process.env["MILLRACE_TEST_ADDON"];
    if (nodePath === undefined || addon === undefined) {
      t.skip("an emulated arm64 Node.js is set up by tools/arm64-tests.mjs, which runs this");
      return;
    }
    const program = installation(t, (place) => cpSync(addon, place), "arm64");
    const options = { nodePath, program, env: { LOG_LEVEL: "info", MILLRACE_PROFILE: "small" } };
    const engine = await EngineProcess.start(t, options);
    const client = await connect(engine);
    t.after(() => client.close());
    await client.createMessageStream({
      name: "raw",
      strategyOnFull: StrategyOnFull.RejectNewData,
      flushOnWrite: true,
    });
    const producer = await client.producer("raw", { batchBytes: 4096 });
    for (let index = 0; index < COUNT; index++) {
      const taken = producer.append(payloadOf(index));
      if (taken) await taken;
    }
    await producer.close();
    const expected = Array.from({ length: COUNT }, (_, index) => payloadOf(index));
    assert.deepEqual(await readAll(client), expected);

    const tasks = `/proc/${String(engine.serve.child.pid)}/task`;
    const names = readdirSync(tasks).map((id) => readFileSync(`${tasks}/${id}/comm`, "utf8").trimEnd());
    for (const name of ["mr-main", "mr-stream-0"]) assert.ok(names.includes(name), names.join());
    client.close();
    const { stderr } = await engine.kill();
    assert.match(stderr, /"event":"native\.loaded"/);
    assert.doesNotMatch(stderr, /"native\.refused"/);

    const again = await EngineProcess.start(t, { ...options, storeDirectory: engine.storeDirectory });
    const reader = await connect(again);
    t.after(() => reader.close());
    assert.deepEqual(await readAll(reader), expected);
    reader.close();
    assert.equal((await again.stop()).code, 0);
  },
);
