import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as after } from "node:timers/promises";
import { asMillraceError, type MillraceError } from "../../src/core/errors.ts";
import { redriveSetAside } from "../../src/engine/redrive.ts";
import { RedriveBench } from "./redrive-bench.ts";

const COMPANION = "s.set-aside";
const cloud = { identifier: "cloud", kinesisStreamName: "target" };
const payloads = ["good 0", "bad 1", "good 2", "bad 3", "bad 4", "good 5"];

test("redriveSetAside sends what was set aside once the destination takes it, and never again", async (t) => {
  const bench = await RedriveBench.start(t);
  await bench.create("s", [cloud]);
  assert.deepEqual(await redriveSetAside(bench.engine, "s"), {
    companion: undefined,
    exporters: [],
    left: [],
  });
  await bench.append("s", ...payloads);
  const before = await bench.exported("s");
  assert.equal(before.exporters[0]?.setAside.messages, 3);
  assert.deepEqual(before.setAside, { stream: COMPANION, redrives: [] });
  bench.refused = [];
  const stored = bench.kinesis.storedIn("target").length;
  const begun = await redriveSetAside(bench.engine, "s", "cloud");
  const three = { companion: COMPANION, exporters: [{ identifier: "cloud", messages: 3 }], left: [] };
  assert.deepEqual(begun, three);
  const { setAside, exporters } = await bench.redriven("s");
  assert.deepEqual(setAside?.redrives, [
    {
      identifier: "cloud",
      position: 3,
      endSequence: 3,
      acceptedMessages: 3,
      setAsideMessages: 0,
      errorMessage: "",
    },
  ]);
  assert.equal(exporters[0]?.setAside.messages, 3, "the account of the stream's exporter stays");
  const sent = bench.kinesis.storedIn("target").slice(stored);
  const entries = (await bench.entries(COMPANION)).map(({ text }) => text);
  assert.deepEqual(sent, entries, "in the order of the companion stream, unwrapped");
  const nothing = { companion: COMPANION, exporters: [], left: [] };
  assert.deepEqual(await redriveSetAside(bench.engine, "s"), nothing);
  await bench.restart();
  assert.deepEqual(await redriveSetAside(bench.engine, COMPANION), nothing, "by the companion's name too");
  // What is set aside later is all that the next one sends.
  bench.refused = ["bad"];
  await bench.append("s", "good 6", "bad 7", "good 8");
  await bench.exported("s");
  bench.refused = [];
  assert.deepEqual((await redriveSetAside(bench.engine, "s")).exporters, [
    { identifier: "cloud", messages: 1 },
  ]);
  await bench.redriven("s");
  assert.deepEqual(bench.kinesis.storedIn("target").slice(-1), ["bad 7"]);
});

test("redriveSetAside sets aside what is refused again, with one attempt more, and passes the rest", async (t) => {
  const bench = await RedriveBench.start(t);
  await bench.create("s", [cloud]);
  await bench.append("s", ...payloads);
  await bench.exported("s");
  bench.refused = ["bad 3"];
  await redriveSetAside(bench.engine, "s");
  const { setAside } = await bench.redriven("s");
  const [redrive] = setAside?.redrives ?? [];
  assert.deepEqual([redrive?.acceptedMessages, redrive?.setAsideMessages], [2, 1]);
  const again = (await bench.entries(COMPANION)).slice(3);
  assert.deepEqual(
    again.map(({ stream, exporter, sequenceNumber, attempts, text }) => [
      ...[stream, exporter, sequenceNumber, attempts, text],
    ]),
    [["s", "cloud", 3, 2, "bad 3"]],
  );
  // Alone, and still refused: it is set aside once more, and the redrive ends.
  await redriveSetAside(bench.engine, "s");
  await bench.redriven("s");
  assert.deepEqual(
    (await bench.entries(COMPANION)).map(({ attempts }) => attempts),
    [1, 1, 1, 2, 3],
  );
  bench.refused = [];
  assert.deepEqual((await redriveSetAside(bench.engine, "s")).exporters, [
    { identifier: "cloud", messages: 1 },
  ]);
  await bench.redriven("s");
  assert.deepEqual(bench.kinesis.storedIn("target").slice(-1), ["bad 3"]);
});

test("redriveSetAside goes on after the engine ended in the middle, and sends at most one batch twice", async (t) => {
  const bench = await RedriveBench.start(t);
  await bench.create("s", [{ ...cloud, batchSize: 5 }]);
  const bad = Array.from({ length: 30 }, (_, index) => `bad ${index}`);
  await bench.append("s", ...bad.flatMap((text) => [text, "good"]));
  await bench.exported("s");
  bench.refused = [];
  const before = bench.kinesis.requests.length;
  await redriveSetAside(bench.engine, "s");
  await bench.kinesis.until(() => bench.kinesis.requests.length >= before + 3);
  await bench.restart();
  const begun = await redriveSetAside(bench.engine, "s");
  assert.ok(begun.exporters[0]!.messages < bad.length, "what was accepted before is not counted");
  await bench.redriven("s");
  const sent = bench.kinesis.storedIn("target").filter((text) => text.startsWith("bad"));
  assert.deepEqual([...new Set(sent)].sort(), bad.toSorted());
  assert.ok(sent.length <= bad.length + 5, `${sent.length} sent of ${bad.length}`);
});

test("redriveSetAside keeps to the exporter that it is for, and says what it cannot send", async (t) => {
  const bench = await RedriveBench.start(t);
  const other = { identifier: "other", kinesisStreamName: "elsewhere" };
  await bench.create("s", [cloud, other], { setAside: { maxSize: 65_536 } });
  await bench.append("s", "good", "bad", "good", `bad ${"x".repeat(60_000)}`, "good");
  await bench.exported("s");
  await bench.setExporters("s", [cloud]);
  await assert.rejects(redriveSetAside(bench.engine, "s", "other"), {
    code: "INVALID_REQUEST",
    message: 'Cannot send again what was set aside of stream "s": it has no exporter "other"',
  });
  bench.refused = [];
  const begun = await redriveSetAside(bench.engine, "s");
  assert.deepEqual(begun.exporters, [{ identifier: "cloud", messages: 1 }]);
  assert.deepEqual(
    begun.left.toSorted((one, two) => one.why.localeCompare(two.why)),
    [
      { identifier: "other", messages: 2, why: "the stream has no such exporter any more" },
      { identifier: "cloud", messages: 1, why: "their payload was omitted" },
    ],
  );
  await bench.redriven("s");
  assert.deepEqual(bench.kinesis.storedIn("target").slice(-1), ["bad"]);
  assert.equal(bench.kinesis.storedIn("elsewhere").includes("bad"), false);
  // To where its exporter sends by then, and not while that is disabled.
  bench.refused = ["bad"];
  await bench.append("s", "good", "bad again", "good");
  await bench.exported("s");
  await bench.setExporters("s", [{ ...cloud, disabled: true }]);
  await assert.rejects(redriveSetAside(bench.engine, "s"), /exporter "cloud" is disabled/);
  await bench.setExporters("s", [{ ...cloud, kinesisStreamName: "mended" }]);
  bench.refused = [];
  await redriveSetAside(bench.engine, "s");
  await bench.redriven("s");
  assert.deepEqual(bench.kinesis.storedIn("mended"), ["bad again"]);
});

test("redriveSetAside says what is gone of what was removed while it counted", async (t) => {
  const bench = await RedriveBench.start(t);
  const other = { identifier: "other", kinesisStreamName: "elsewhere" };
  const removals = [
    {
      remove: () => bench.setExporters("s", [other]),
      code: "INVALID_REQUEST",
      text: /it has no exporter "cloud"/,
    },
    {
      remove: () => bench.setExporters("s", [{ ...cloud, disabled: true }, other]),
      ...{ code: "INVALID_REQUEST", text: /"cloud" is disabled/ },
    },
    {
      remove: () => bench.delete(COMPANION),
      code: "STREAM_NOT_FOUND",
      text: /"s\.set-aside" does not exist/,
    },
    { remove: () => bench.delete("s"), code: "STREAM_NOT_FOUND", text: /"s" does not exist/ },
    {
      remove: async () => {
        await bench.delete("s");
        await bench.create("s", [cloud]);
      },
      ...{ code: "STREAM_NOT_FOUND", text: /"s" was deleted and made anew/ },
    },
  ];
  for (const { remove, code, text } of removals) {
    if (!bench.engine.catalog.names.includes("s")) await bench.create("s", [cloud, other]);
    await bench.setExporters("s", [cloud, other]);
    bench.refused = ["bad"];
    await bench.append("s", "good", "bad", "good");
    await bench.exported("s");
    bench.refused = [];
    const { engine, held, release } = bench.withHeldReads();
    const refused = assert.rejects(redriveSetAside(engine, "s", "cloud"), (error: MillraceError) => {
      assert.match(error.message, text);
      assert.equal(error.code, code);
      return true;
    });
    await held;
    await remove();
    release();
    await refused;
  }
});

test("redriveSetAside waits for what a former exporter of that name has out: one task at a time has a position", async (t) => {
  const bench = await RedriveBench.start(t);
  await bench.create("s", [{ ...cloud, batchSize: 1 }]);
  const bad = Array.from({ length: 4 }, (_, index) => `bad ${index}`);
  await bench.append("s", ...bad.flatMap((text) => [text, "good"]));
  await bench.exported("s");
  let release: () => void = () => undefined;
  const released = new Promise<void>((resolve) => (release = resolve));
  let begun: () => void = () => undefined;
  const isOut = new Promise<void>((resolve) => (begun = resolve));
  const taken: string[] = [];
  bench.kinesis.answer = async ({ data }) => {
    taken.push(...data.filter((text) => text.startsWith("bad")));
    if (taken.length === 2) {
      begun();
      await released;
    }
    return { kind: "accept" };
  };
  await redriveSetAside(bench.engine, "s");
  await isOut;
  await bench.setExporters("s", []);
  // It has nothing to export but what is redriven.
  await bench.setExporters("s", [{ ...cloud, batchSize: 1, startSequenceNumber: 2 * bad.length }]);
  for (const identifier of ["cloud", undefined]) {
    await assert.rejects(redriveSetAside(bench.engine, "s", identifier), {
      code: "SERVER_BUSY",
      message: /requests of a former exporter "cloud" are out/,
    });
  }
  assert.equal(taken.length, 2, "nothing more is sent meanwhile");
  release();
  const deadlineMs = Date.now() + 20_000;
  for (let isBegun = false; !isBegun;) {
    assert.ok(Date.now() < deadlineMs);
    isBegun = await redriveSetAside(bench.engine, "s").then(
      () => true,
      (error: unknown) => {
        assert.equal(asMillraceError(error).code, "SERVER_BUSY");
        return after(10, false);
      },
    );
  }
  await bench.redriven("s");
  assert.deepEqual(taken.filter((text) => text !== "good").toSorted(), bad.toSorted(), "each once");
});
