import assert from "node:assert/strict";
import { mkdirSync, readdirSync, writeFileSync } from "node:fs";
import path from "node:path";
import { describe, it } from "node:test";
import { EngineProcess, temporaryDirectory } from "../../support/engine-process.ts";
import { runProgram } from "../../support/program.ts";
import { flipBit } from "../../support/store-fixture.ts";

const program = path.join(import.meta.dirname, "..", "..", "..", "src", "millrace.js");

interface Verdict {
  readonly isLive: boolean;
  readonly isSound: boolean;
  readonly faults: number;
  readonly streams: readonly {
    readonly name: string;
    readonly messages: number;
    readonly nextSequence: number;
    readonly findings: readonly {
      readonly severity: string;
      readonly path: string;
      readonly offset?: number;
    }[];
  }[];
}

function segmentsOf(engine: EngineProcess): string[] {
  const names = readdirSync(engine.storeDirectory, { recursive: true, encoding: "utf8" });
  return names.filter((name) => name.endsWith(".lz4")).sort();
}

describe("millrace store verify", () => {
  it("verifies a store beside its engine, after a kill under load, and after a bit has flipped", async (t) => {
    const engine = await EngineProcess.start(t);
    const verify = async (...args: string[]) => {
      const { code, stdout, stderr } = await engine.run(["store", "verify", "--json", ...args]);
      return { code, stderr, verdict: JSON.parse(stdout) as Verdict };
    };
    await engine.run(["streams", "create", "lines", "--segment-size", "262144"]);
    await engine.run(["append", "lines"], "a line of some length\n".repeat(20_000));
    const live = await verify();
    assert.deepEqual([live.code, live.stderr, live.verdict.isLive], [0, "", true]);
    assert.equal(live.verdict.streams[0]?.messages, 20_000);

    const appending = engine.launch(["append", "lines"]);
    const whenGrown = new Promise<void>((resolve) => {
      const { stdin } = appending.child;
      let rounds = 0;
      const more = (): void => {
        if (++rounds > 40) resolve();
        else stdin.write("another line of some length\n".repeat(2000), more);
      };
      stdin.on("error", () => resolve());
      more();
    });
    await whenGrown;
    await engine.kill();
    appending.child.kill("SIGKILL");
    const killed = await verify();
    assert.deepEqual([killed.code, killed.verdict.isLive, killed.verdict.isSound], [0, false, true]);
    assert.ok(killed.verdict.streams[0]!.messages > 20_000);

    const [first] = segmentsOf(engine);
    flipBit(path.join(engine.storeDirectory, first!), 5000);
    const flipped = await verify("--stream", "lines");
    assert.deepEqual([flipped.code, flipped.verdict.isSound, flipped.verdict.faults], [1, false, 1]);
    assert.match(flipped.stderr, /^millrace: Store [^\n]* has 1 fault, first damage in streams\/[^\n]*\n$/);
    // The kill may have cut short the write of a small file too.
    const finding = flipped.verdict.streams[0]!.findings.find(({ severity }) => severity === "damage");
    assert.ok(first!.endsWith(finding!.path) && finding!.offset! <= 5000);
    const text = await engine.run(["store", "verify"]);
    assert.match(
      text.stdout,
      /^DAMAGE {6}streams\/\S+\.lz4, \d+ bytes at \d+, messages \d+ to \d+ \(lines\)$/m,
    );
    assert.match(text.stdout, /: 1 fault\n$/);
    assert.equal((await engine.run(["store", "verify", "--stream", "gone"])).code, 1);
  });

  it("takes an empty store for sound, and fails where there is none or a later version was at work", async (t) => {
    const directory = temporaryDirectory(t);
    const empty = path.join(directory, "empty");
    mkdirSync(empty, { mode: 0o700 });
    const verify = (store: string) =>
      runProgram(t, [program, "store", "verify", "--store-directory", store], { env: {} });
    const sound = await verify(empty);
    assert.deepEqual([sound.code, sound.stderr], [0, ""]);
    assert.match(sound.stdout, /verified 0 streams, 0 segments, 0 messages, 0 B in [\d.]+ s: no fault\n$/);
    assert.deepEqual(readdirSync(empty), []);
    const missing = await verify(path.join(directory, "missing"));
    assert.deepEqual([missing.code, missing.stdout], [1, ""]);
    assert.match(missing.stderr, /^millrace: Cannot read store \S+: there is none\n$/);
    writeFileSync(path.join(empty, "format"), '{"format":99,"writtenBy":"9.0.0"}\n', { mode: 0o600 });
    const later = await verify(empty);
    assert.deepEqual([later.code, later.stdout], [1, ""]);
    assert.match(later.stderr, /has format 99, written by Millrace 9\.0\.0/);
  });
});
