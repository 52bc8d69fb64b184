import assert from "node:assert/strict";
import { chmodSync, linkSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { test, type TestContext } from "node:test";
import { pathToFileURL } from "node:url";
import { type ErrorCode, MillraceError } from "../../src/core/errors.ts";
import { systemRandom } from "../../src/core/random.ts";
import { isStoreLocked, lockStore, type StoreLock } from "../../src/net/store-lock.ts";
import { Program } from "../support/program.ts";

const timeout = 20_000;

function makeStore(t: TestContext, name = "store"): string {
  const root = mkdtempSync(path.join(tmpdir(), "millrace-lock-"));
  t.after(() => rmSync(root, { recursive: true }));
  const directory = path.join(root, name);
  mkdirSync(directory, { mode: 0o700, recursive: true });
  chmodSync(directory, 0o700);
  return directory;
}

async function lock(t: TestContext, directory: string): Promise<StoreLock> {
  const held = await lockStore({ directory, random: systemRandom });
  t.after(() => held.release());
  return held;
}

function hasCode(code: ErrorCode): (error: unknown) => true {
  return (error) => {
    assert.ok(error instanceof MillraceError);
    assert.equal(error.code, code);
    assert.doesNotMatch(error.message, /\n/);
    return true;
  };
}

/** A process that takes the lock, says so and stays until it is killed. */
function lockingProgram(t: TestContext, directory: string): Program {
  const modules = ["net/store-lock.js", "core/random.js"].map((file) =>
    JSON.stringify(pathToFileURL(path.join(import.meta.dirname, "..", "..", "src", file)).href),
  );
  const script = `
    import { lockStore } from ${modules[0]!};
    import { systemRandom } from ${modules[1]!};
    try {
      await lockStore({ directory: ${JSON.stringify(directory)}, random: systemRandom });
      process.stdin.resume();
      console.log("held");
    } catch (error) {
      console.log(error.code);
    }`;
  return new Program(t, ["--input-type=module", "--eval", script]);
}

test("lockStore lets one process in and leaves one name behind", { timeout }, async (t) => {
  const directory = makeStore(t);
  const held = await lock(t, directory);
  assert.deepEqual(readdirSync(directory), ["lock-1.sock"]);
  await assert.rejects(lock(t, directory), hasCode("STORE_LOCKED"));
  assert.deepEqual(readdirSync(directory), ["lock-1.sock"]);
  await held.release();
  await held.release();
  await lock(t, directory);
  assert.deepEqual(readdirSync(directory), ["lock-2.sock"]);
});

test(
  "lockStore sees the lock of another process, stopped or not, and takes it over when that is killed",
  { timeout },
  async (t) => {
    const directory = makeStore(t);
    const holder = lockingProgram(t, directory);
    await holder.line("stdout", /^held$/);
    await assert.rejects(lock(t, directory), hasCode("STORE_LOCKED"));
    holder.child.kill("SIGSTOP");
    await assert.rejects(lock(t, directory), hasCode("STORE_LOCKED"));
    holder.child.kill("SIGKILL");
    await holder.finished();
    assert.deepEqual(readdirSync(directory), ["lock-1.sock"]);
    await lock(t, directory);
    assert.deepEqual(readdirSync(directory), ["lock-2.sock"]);
  },
);

test("lockStore gives a stale lock to one of many that ask at once", { timeout }, async (t) => {
  for (let round = 0; round < 20; round++) {
    const directory = makeStore(t);
    await (await lockStore({ directory, random: systemRandom })).release();
    const asked = Array.from({ length: 8 }, () => lockStore({ directory, random: systemRandom }));
    const results = await Promise.allSettled(asked);
    const held = results.filter((result) => result.status === "fulfilled");
    assert.equal(held.length, 1);
    for (const result of results) if (result.status === "rejected") hasCode("STORE_LOCKED")(result.reason);
    assert.equal(readdirSync(directory).filter((name) => name.startsWith("lock-")).length, 1);
    await assert.rejects(lockStore({ directory, random: systemRandom }), hasCode("STORE_LOCKED"));
    await held[0]!.value.release();
  }
});

test("lockStore works where the path is longer than a socket address", { timeout }, async (t) => {
  const directory = makeStore(t, `${"d".repeat(120)}/${"e".repeat(120)}`);
  const held = await lock(t, directory);
  assert.deepEqual(readdirSync(directory), ["lock-1.sock"]);
  await assert.rejects(lock(t, directory), hasCode("STORE_LOCKED"));
  await held.release();
  await lock(t, directory);
});

test("lockStore gives a stale lock to one of several processes that ask at once", { timeout }, async (t) => {
  const directory = makeStore(t);
  await (await lockStore({ directory, random: systemRandom })).release();
  const programs = Array.from({ length: 4 }, () => lockingProgram(t, directory));
  const lines = await Promise.all(programs.map((program) => program.line("stdout", /held|STORE_/)));
  assert.deepEqual(lines.sort(), ["STORE_LOCKED", "STORE_LOCKED", "STORE_LOCKED", "held"]);
});

test(
  "lockStore gives way to a higher generation that came after its look at the directory",
  { timeout },
  async (t) => {
    const directory = makeStore(t);
    await (await lockStore({ directory, random: systemRandom })).release();
    const holder = createServer().listen(path.join(directory, "holder.sock"));
    t.after(() => holder.close());
    const slow = lockStore({ directory, random: systemRandom });
    // By now it has seen the dead first generation and waits for its refusal. Others take two generations meanwhile, and the
    // second of them has removed the first: the slow one finds generation 2 free.
    for (let turn = 0; turn < 10; turn++) await new Promise((resolve) => process.nextTick(resolve));
    linkSync(path.join(directory, "holder.sock"), path.join(directory, "lock-3.sock"));
    await assert.rejects(slow, hasCode("STORE_LOCKED"));
    assert.ok(readdirSync(directory).includes("lock-3.sock"));
    assert.ok(!readdirSync(directory).includes("lock-2.sock"));
  },
);

test("lockStore removes the claims of those that died before they had the lock", { timeout }, async (t) => {
  const directory = makeStore(t);
  writeFileSync(path.join(directory, "claim-00ff.sock"), "");
  await lock(t, directory);
  assert.deepEqual(readdirSync(directory), ["lock-1.sock"]);
});

test(
  "lockStore refuses a directory that others may enter and one that is not there",
  { timeout },
  async (t) => {
    const open = makeStore(t);
    chmodSync(open, 0o750);
    await assert.rejects(lock(t, open), hasCode("STORE_UNUSABLE"));
    await assert.rejects(lock(t, `${open}/missing`), hasCode("STORE_UNUSABLE"));
  },
);

test("isStoreLocked tells without a trace whether a process has the store", { timeout }, async (t) => {
  // The long name goes by way of /proc.
  for (const name of ["store", `${"long-".repeat(20)}store`]) {
    const directory = makeStore(t, name);
    assert.equal(await isStoreLocked(directory), false);
    const held = await lock(t, directory);
    const before = readdirSync(directory);
    assert.equal(await isStoreLocked(directory), true);
    await held.release();
    assert.equal(await isStoreLocked(directory), false);
    assert.deepEqual(readdirSync(directory), before);
    const program = lockingProgram(t, directory);
    await program.line("stdout", /held/);
    assert.equal(await isStoreLocked(directory), true);
    program.child.kill("SIGKILL");
    await program.finished();
    assert.equal(await isStoreLocked(directory), false);
  }
  assert.equal(await isStoreLocked("/no/such/store"), false);
});

test("isStoreLocked says so when it cannot tell", { timeout }, async (t) => {
  const directory = makeStore(t);
  writeFileSync(path.join(directory, "lock-1.sock"), "");
  linkSync(path.join(directory, "lock-1.sock"), path.join(directory, "lock-2.sock"));
  assert.equal(await isStoreLocked(directory), false);
  await assert.rejects(isStoreLocked(path.join(directory, "lock-1.sock")), hasCode("STORE_UNUSABLE"));
});
