import assert from "node:assert/strict";
import { it } from "node:test";
import { temporaryDirectory } from "./engine-process.ts";
import { MemoryGroup } from "./memory-group.ts";
import { Program } from "./program.ts";

const MIB = 1024 * 1024;

it(
  "MemoryGroup lets its processes have what it says, and the kernel kills what takes more",
  { timeout: 60_000 },
  async (t) => {
    const group = MemoryGroup.make(t, 128 * MIB);
    if (typeof group === "string") {
      t.skip(group);
      return;
    }
    const nodePath = group.nodeWithin(temporaryDirectory(t));
    const take = (mib: number): Program =>
      new Program(t, ["--eval", `Buffer.alloc(${mib} * 2 ** 20, 1); console.log("had it")`], { nodePath });
    const modest = await take(16).finished();
    assert.deepEqual([modest.code, modest.stdout, group.killCount], [0, "had it\n", 0]);
    const greedy = await take(256).finished();
    assert.deepEqual([greedy.signal, greedy.stdout, group.killCount], ["SIGKILL", "", 1]);
    assert.ok(group.peakBytes === undefined || group.peakBytes > 100 * MIB);
  },
);
