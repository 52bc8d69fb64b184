import assert from "node:assert/strict";
import path from "node:path";
import { test } from "node:test";
import { pathToFileURL } from "node:url";
import { MillraceError } from "../../src/core/errors.ts";
import { EventName } from "../../src/observe/events.ts";
import { createLogger, type LogFields, type LogLevel, silentLogger } from "../../src/observe/logger.ts";
import { ManualClock } from "../support/deterministic.ts";
import { runProgram } from "../support/program.ts";

function record(level: LogLevel): {
  lines: Record<string, unknown>[];
  logger: ReturnType<typeof createLogger>;
} {
  const lines: Record<string, unknown>[] = [];
  const write = (line: string): void => void lines.push(JSON.parse(line) as Record<string, unknown>);
  return { lines, logger: createLogger({ level, destination: { write } }) };
}

for (const [level, expected] of [
  ["TRACE", ["TRACE", "DEBUG", "INFO", "WARN", "ERROR"]],
  ["DEBUG", ["DEBUG", "INFO", "WARN", "ERROR"]],
  ["INFO", ["INFO", "WARN", "ERROR"]],
  ["WARN", ["WARN", "ERROR"]],
  ["ERROR", ["ERROR"]],
] as const) {
  test(`createLogger at ${level} writes ${expected.join(", ")}`, () => {
    const { lines, logger } = record(level);
    logger.trace(EventName.StoreOpened);
    logger.debug(EventName.StoreOpened);
    logger.info(EventName.StoreOpened);
    logger.warn(EventName.StoreOpened);
    logger.error(EventName.StoreOpened);
    assert.deepEqual(
      lines.map((line) => line["level"]),
      expected,
    );
    assert.equal(logger.isEnabled("INFO"), (expected as readonly string[]).includes("INFO"));
  });
}

test("createLogger writes the event, the time and the known fields, and nothing else", () => {
  const { lines, logger } = record("INFO");
  const wide = { stream: "s\n1", count: 0, token: "CANARY", payload: Buffer.from("CANARY") };
  const fields: LogFields = wide;
  logger.info(EventName.StreamRestored, fields);
  const [line] = lines;
  assert.ok(line !== undefined);
  assert.deepEqual(Object.keys(line), ["level", "time", "event", "stream", "count"]);
  assert.equal(line["event"], "stream.restored");
  assert.equal(line["stream"], "s\n1");
  assert.match(String(line["time"]), /^\d{4}-\d\d-\d\dT[\d:.]+Z$/);
});

test("createLogger bounds the lines that strangers cause, and tells how many it left out", () => {
  const clock = new ManualClock();
  const lines: Record<string, unknown>[] = [];
  const write = (line: string): void => void lines.push(JSON.parse(line) as Record<string, unknown>);
  const logger = createLogger({ level: "INFO", destination: { write }, clock });
  const refuse = (count: number): void => {
    for (let left = count; left > 0; left--) logger.warn(EventName.AuthenticationRefused, { delayMs: left });
  };
  refuse(500);
  assert.equal(lines.length, 10);
  // Each event has its own; what the store tells is never left out.
  logger.info(EventName.ConnectionExpired);
  for (let left = 20; left > 0; left--) logger.error(EventName.StreamDamaged);
  assert.equal(lines.length, 31);
  clock.advance(1000);
  refuse(2);
  const [first, second] = lines.slice(31);
  assert.deepEqual([first?.["omitted"], second?.["omitted"], lines.length], [490, undefined, 33]);
});

test("createLogger takes code and message of an error, not what hangs on it", () => {
  const { lines, logger } = record("WARN");
  const url = "http://user:CANARY@[";
  try {
    new URL(url);
    assert.fail("the URL is invalid");
  } catch (thrown) {
    logger.warn(EventName.ExportFailed, {}, thrown);
  }
  logger.error(
    EventName.RequestFailed,
    {},
    new MillraceError("STREAM_FULL", "Cannot append", { cause: url }),
  );
  assert.doesNotMatch(JSON.stringify(lines), /CANARY/);
  assert.deepEqual(
    lines.map((line) => line["code"]),
    ["INTERNAL", "STREAM_FULL"],
  );
  assert.equal(lines[1]?.["error"], "Cannot append");
});

test("silentLogger is enabled for nothing", () => {
  assert.equal(silentLogger.isEnabled("ERROR"), false);
  silentLogger.error(EventName.EngineStopped, {}, new Error("unheard"));
});

test(
  "createLogger writes to standard error, and loads pino with the first line only",
  { timeout: 20_000 },
  async (t) => {
    const logger = pathToFileURL(path.join(import.meta.dirname, "../../src/observe/logger.js")).href;
    const script = `
    import { createRequire } from "node:module";
    import { createLogger } from ${JSON.stringify(logger)};
    const isLoaded = () => Object.keys(createRequire(import.meta.url).cache).some((file) => file.includes("/pino/"));
    const logger = createLogger({ level: "WARN" });
    logger.info("engine.started");
    const before = isLoaded();
    logger.warn("native.missing", { reason: "r" });
    console.log(before, isLoaded());
    process.exit(0);`;
    const { stdout, stderr } = await runProgram(t, ["--input-type=module", "--eval", script]);
    assert.equal(stdout, "false true\n");
    assert.match(stderr, /^\{"level":"WARN","time":"[^"]+","event":"native\.missing","reason":"r"\}\n$/);
  },
);
