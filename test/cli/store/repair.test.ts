import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import {
  appendFileSync,
  copyFileSync,
  linkSync,
  lstatSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import path from "node:path";
import { describe, it } from "node:test";
import { MillraceClient, MillraceError, StrategyOnFull } from "../../../src/client/index.ts";
import { EngineProcess } from "../../support/engine-process.ts";
import { flipBit } from "../../support/store-fixture.ts";

interface Finding {
  readonly severity: string;
  readonly path: string;
  readonly fromSequence?: number;
  readonly toSequence?: number;
}
interface Verdict {
  readonly findings: readonly Finding[];
  readonly streams: readonly {
    readonly streamId: string;
    readonly name?: string;
    readonly findings: readonly Finding[];
  }[];
}

const LINES = 5000;
const SEGMENT_BYTES = 65_536;
const BATCH_BYTES = 16_384;
const streamNames = [
  "sound",
  "flipped",
  "cut",
  "missing",
  "torn",
  "undefined",
  "planted",
  "emptied",
] as const;
type StreamName = (typeof streamNames)[number];

function lineOf(name: string, index: number): string {
  // Hardly compressible, so that there are several segments.
  return `${name} ${index} ${createHash("sha256").update(`${name}${index}`).digest("hex")}`;
}

async function connect(engine: EngineProcess): Promise<MillraceClient> {
  const { token } = engine;
  return MillraceClient.connect({
    url: `ws://127.0.0.1:${engine.port}`,
    ...(token !== undefined && { token }),
  });
}

/** A store with a stream for each kind of damage, whose engine was killed. @returns the streams' directories */
async function makeStore(engine: EngineProcess): Promise<Map<StreamName, string>> {
  const client = await connect(engine);
  for (const name of streamNames) {
    await client.createMessageStream({
      name,
      strategyOnFull: StrategyOnFull.RejectNewData,
      streamSegmentSize: SEGMENT_BYTES,
    });
    const producer = await client.producer(name, { batchBytes: BATCH_BYTES });
    for (let index = 0; index < LINES; index++) await producer.append(lineOf(name, index));
    await producer.close();
  }
  client.close();
  await engine.kill();
  const { stdout } = await engine.run(["store", "verify", "--json"]);
  const { streams } = JSON.parse(stdout) as Verdict;
  const directories = path.join(engine.storeDirectory, "store", "streams");
  return new Map(streams.map(({ name, streamId }) => [name as StreamName, path.join(directories, streamId)]));
}

/** Every message that the engine gives out, by its number. */
async function readAll(client: MillraceClient, name: string): Promise<Map<number, string>> {
  const found = new Map<number, string>();
  for (let next = 0; next < LINES;) {
    const messages = await client
      .readMessages(name, { desiredStartSequenceNumber: next, maxMessageCount: LINES })
      .catch((error: unknown) => {
        if (error instanceof MillraceError && error.code === "NOT_ENOUGH_MESSAGES") return [];
        throw error;
      });
    if (messages.length === 0) break;
    for (const { sequenceNumber, payload } of messages)
      found.set(sequenceNumber, Buffer.from(payload).toString());
    next = messages.at(-1)!.sequenceNumber + 1;
  }
  return found;
}

function segmentsOf(directory: string): string[] {
  const names = readdirSync(directory).filter((name) => name.endsWith(".lz4"));
  return names.sort().map((name) => path.join(directory, name));
}

function stateOf(directory: string): string[] {
  return readdirSync(directory, { recursive: true, encoding: "utf8" })
    .concat(".")
    .sort()
    .map((name) => {
      const stat = lstatSync(path.join(directory, name));
      const bytes = stat.isFile() ? readFileSync(path.join(directory, name)) : "";
      const hash = createHash("sha256").update(bytes).digest("hex");
      return [name, stat.mode, stat.ino, stat.mtimeMs, stat.ctimeMs, stat.nlink, hash].join(" ");
    });
}

describe("millrace store repair", () => {
  it("lets an engine serve all that verify does not name, whatever was damaged", async (t) => {
    // Blocks so small that the segments are many.
    const env = { MILLRACE_BLOCK_BYTES: String(BATCH_BYTES) };
    const engine = await EngineProcess.start(t, { env });
    const directories = await makeStore(engine);
    const store = path.join(engine.storeDirectory, "store");
    const segments = (name: StreamName): string[] => segmentsOf(directories.get(name)!);
    flipBit(segments("flipped")[1]!, 9000);
    truncateSync(segments("cut")[1]!, 20_000);
    rmSync(segments("missing")[1]!);
    appendFileSync(segments("torn").at(-1)!, "MRBK, and then nothing that verifies");
    flipBit(path.join(directories.get("undefined")!, "definition"), 40);
    const [planted] = segments("planted");
    renameSync(segments("planted")[1]!, path.join(engine.storeDirectory, "aside"));
    symlinkSync(
      path.join(engine.storeDirectory, "aside"),
      segments("planted")[0]!.replace("00000-0000", "00001-0000"),
    );
    execFileSync("mkfifo", ["-m", "600", segments("planted")[0]!.replace("00000-0000", "00002-0000")]);
    linkSync(segments("planted").at(-2)!, path.join(engine.storeDirectory, "second-name"));
    copyFileSync(planted!, path.join(directories.get("sound")!, "99999999990000000000-0000.lz4"));
    writeFileSync(path.join(store, "streams", "notes.txt"), "mine");
    writeFileSync(segments("emptied")[1]!, "");

    const verified = await engine.run(["store", "verify", "--json"]);
    assert.equal(verified.code, 1);
    const verdict = JSON.parse(verified.stdout) as Verdict;
    const damaged = new Map(verdict.streams.map(({ streamId, findings }) => [streamId, findings]));
    const findingsOf = (name: StreamName): readonly Finding[] =>
      damaged.get(path.basename(directories.get(name)!)) ?? [];
    const kinds = (name: StreamName): string[] =>
      findingsOf(name)
        .map(({ severity }) => severity)
        .sort();
    assert.deepEqual(kinds("sound"), ["foreign"]);
    assert.deepEqual(kinds("flipped"), ["damage"]);
    assert.deepEqual(kinds("missing"), ["damage"]);
    assert.deepEqual(kinds("torn"), ["torn"]);
    assert.deepEqual(kinds("undefined"), ["damage"]);
    assert.deepEqual(kinds("planted"), ["damage", "damage", "rights", "rights", "rights"]);
    assert.deepEqual(kinds("emptied"), ["damage", "torn"]);
    assert.ok(kinds("cut").length >= 1 && kinds("cut").every((kind) => kind === "damage"));
    assert.deepEqual(
      // A kill may leave a ballast that was still being made.
      verdict.findings.map(({ path: place }) => place).filter((place) => place !== "ballast.tmp"),
      ["streams/notes.txt"],
    );

    const before = stateOf(store);
    const dry = await engine.run(["store", "repair", "--dry-run"]);
    assert.deepEqual(stateOf(store), before, "a dry run changes nothing");
    const repaired = await engine.run(["store", "repair"]);
    // The definition of one stream is not to be had.
    assert.deepEqual([dry.code, repaired.code], [1, 1]);
    assert.match(
      repaired.stderr,
      /^millrace: Cannot recover streams\/[^\n]*: it has a damaged definition\n$/,
    );
    // Cut, or in a new segment without it, if the kill left more that nothing proves to be durable.
    assert.match(dry.stdout, /^ {2}would be done: \S+\.lz4 (cut from \d+ to \d+ bytes|made)$/m);
    assert.match(repaired.stdout, /^ {2}done: \S+\.lz4 (cut from \d+ to \d+ bytes|made)$/m);
    const withoutWould = dry.stdout.split("\n").slice(1).join("\n").replaceAll("would be ", "");
    assert.equal(withoutWould, repaired.stdout.split("\n").slice(1).join("\n"));

    const again = await EngineProcess.start(t, { storeDirectory: engine.storeDirectory });
    const client = await connect(again);
    t.after(() => client.close());
    for (const name of streamNames) {
      if (name === "undefined") continue;
      const found = await readAll(client, name);
      const lost = findingsOf(name).filter(
        ({ severity, fromSequence }) => severity === "damage" && fromSequence !== undefined,
      );
      for (let index = 0; index < LINES; index++) {
        const isLost = lost.some(
          ({ fromSequence, toSequence }) => fromSequence! <= index && index < (toSequence ?? LINES),
        );
        assert.equal(found.get(index), isLost ? undefined : lineOf(name, index), `${name} ${index}`);
      }
    }
  });

  it("refuses a store that an engine has, dry or not, and changes nothing of it", async (t) => {
    const engine = await EngineProcess.start(t);
    for (const args of [["--dry-run"], []]) {
      const { code, stdout, stderr } = await engine.run(["store", "repair", ...args]);
      assert.deepEqual([code, stdout], [1, ""]);
      assert.match(
        stderr,
        /^millrace: Cannot repair store \S+: an engine runs on it; stop it first [^\n]*\n$/,
      );
    }
    await engine.stop();
    const { code, stdout } = await engine.run(["store", "repair", "--json"]);
    assert.equal(code, 0);
    const { epoch, streams, isDryRun } = JSON.parse(stdout) as Record<string, unknown>;
    assert.deepEqual([epoch, streams, isDryRun], [2, [], false]);
  });
});
