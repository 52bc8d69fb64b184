import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readdirSync } from "node:fs";
import path from "node:path";
import { describe, it } from "node:test";
import { EngineProcess } from "../support/engine-process.ts";
import { requireProgram } from "../support/require-program.ts";

const LENGTH_BYTES = 4;

/** What the README says of a segment: each message is preceded by its length, little-endian. */
function cutMessages(bytes: Buffer): string[] {
  const messages: string[] = [];
  for (let at = 0; at < bytes.length;) {
    const end = at + LENGTH_BYTES + bytes.readUInt32LE(at);
    messages.push(bytes.toString("latin1", at + LENGTH_BYTES, end));
    at = end;
  }
  return messages;
}

/** Decompressed by a program that knows nothing of ours, oldest first. */
function decompressStore(storeDirectory: string): Buffer {
  const segments = readdirSync(storeDirectory, { recursive: true, encoding: "utf8" })
    .filter((name) => name.endsWith(".lz4"))
    .sort();
  assert.ok(segments.length > 1, "the messages fill several segments");
  const decompressed = segments.map((name) =>
    execFileSync("lz4", ["-dc", path.join(storeDirectory, name)], { maxBuffer: 64 * 1024 * 1024 }),
  );
  return Buffer.concat(decompressed);
}

describe("a segment file", () => {
  it("gives back its messages by lz4 alone, after a clean stop and after a kill", async (t) => {
    if (!requireProgram(t, "lz4", "decompress a segment without Millrace")) return;
    const engine = await EngineProcess.start(t);
    await engine.run(["streams", "create", "raw", "--segment-size", "1048576"]);
    const lines = Array.from(
      { length: 50_000 },
      (_, index) => `{"sensor":${index % 7},"value":${index * 0.5}}`,
    );
    await engine.run(["append", "raw"], `${lines.join("\n")}\n`);
    assert.equal((await engine.stop()).code, 0);
    const store = path.join(engine.storeDirectory, "store");
    assert.deepEqual(cutMessages(decompressStore(store)), lines);

    const again = await EngineProcess.start(t, { storeDirectory: engine.storeDirectory });
    const long = Buffer.from(Array.from({ length: 3000 }, (_, index) => 32 + ((index * 7919) % 90)));
    const last = long.toString("latin1");
    await again.run(["append", "raw"], `${last}\n`);
    again.serve.child.kill("SIGKILL");
    await again.serve.finished();
    assert.deepEqual(cutMessages(decompressStore(store)), [...lines, last]);
  });
});
