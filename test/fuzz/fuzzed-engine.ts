import assert from "node:assert/strict";
import { existsSync, readdirSync, readlinkSync } from "node:fs";
import path from "node:path";
import { pathToFileURL } from "node:url";
import { setTimeout as after } from "node:timers/promises";
import { MillraceClient } from "../../src/client/millrace-client.ts";
import { systemCode } from "../../src/core/errors.ts";
import { StrategyOnFull } from "../../src/core/stream-definition.ts";
import { ballastPath } from "../../src/log/ballast.ts";
import { EngineProcess } from "../support/engine-process.ts";
import type { CleanUp } from "../support/program.ts";
import type { HeldMemory } from "./collect-on-signal.ts";

/** compiled to dist/test/fuzz/ */
const preload = pathToFileURL(path.join(import.meta.dirname, "collect-on-signal.js")).href;
const GOOD_STREAM = "kept by a good client";
const STREAMS_MAX = 40;
const SETTLE_MS_MAX = 60_000;
const POLL_MS = 20;
const READ_COUNT_MAX = 1000;

/** What an engine holds when nobody is connected and it has one stream. */
export interface Held extends HeldMemory {
  readonly descriptors: number;
  readonly threads: number;
}

/** An engine in a process of its own, a client that must never notice what others send, and what the process holds. */
export class FuzzedEngine {
  readonly engine: EngineProcess;
  readonly #good: MillraceClient;
  #stored = 0;
  #checked = 0;
  #collections = 0;

  private constructor(engine: EngineProcess, good: MillraceClient) {
    this.engine = engine;
    this.#good = good;
  }

  static async start(t: CleanUp): Promise<FuzzedEngine> {
    const engine = await EngineProcess.start(t, {
      env: {
        NODE_OPTIONS: `--import=${preload}`,
        MILLRACE_STREAMS_MAX: String(STREAMS_MAX),
        // Exporters that mutated definitions ask for find nobody, and nothing leaves this machine.
        AWS_ENDPOINT_URL: "http://127.0.0.1:9",
        AWS_REGION: "eu-west-1",
        AWS_ACCESS_KEY_ID: "none",
        AWS_SECRET_ACCESS_KEY: "none",
      },
    });
    // It is a descriptor more while it is made.
    while (!existsSync(ballastPath(path.join(engine.storeDirectory, "store")))) await after(POLL_MS);
    const url = `ws://127.0.0.1:${engine.port}`;
    const good = await MillraceClient.connect({ url, token: engine.token! });
    t.after(() => good.close());
    await good.createMessageStream({ name: GOOD_STREAM, strategyOnFull: StrategyOnFull.RejectNewData });
    return new FuzzedEngine(engine, good);
  }

  /** The good client appends, and reads what it has not read yet. */
  async serveGoodClient(): Promise<void> {
    const number = await this.#good.appendMessage(GOOD_STREAM, payloadOf(this.#stored));
    assert.equal(number, this.#stored, "the good client's message has the next number");
    this.#stored += 1;
    const count = Math.min(READ_COUNT_MAX, this.#stored - this.#checked);
    const messages = await this.#good.readMessages(GOOD_STREAM, {
      desiredStartSequenceNumber: this.#checked,
      minMessageCount: count,
      maxMessageCount: count,
    });
    for (const { sequenceNumber, payload } of messages) {
      assert.equal(sequenceNumber, this.#checked);
      assert.deepEqual(Buffer.from(payload), payloadOf(sequenceNumber), "the good client's message");
      this.#checked += 1;
    }
  }

  /** Removes the streams that mutated requests made. */
  async removeStreams(): Promise<void> {
    const names = (await this.#good.listStreams()).filter((name) => name !== GOOD_STREAM);
    for (const name of names) {
      // A deletion that was asked for over a connection without waiting may be done meanwhile.
      await this.#good.deleteMessageStream(name).catch((error: unknown) => {
        if (!(error instanceof Error && error.message.includes("does not exist"))) throw error;
      });
    }
  }

  /** What the engine holds once nothing more goes back: connections end and threads stop in their own time. */
  async held(): Promise<Held> {
    await this.removeStreams();
    const deadlineMs = performance.now() + SETTLE_MS_MAX;
    let held = await this.#look();
    for (;;) {
      await after(POLL_MS);
      const next = await this.#look();
      const isSettled =
        next.descriptors === held.descriptors &&
        next.threads === held.threads &&
        next.heapUsed > held.heapUsed - 4096;
      held = next;
      if (isSettled || performance.now() > deadlineMs) return held;
    }
  }

  async #look(): Promise<Held> {
    this.#collections += 1;
    const line = this.engine.serve.line("stdout", new RegExp(`"collection":${this.#collections},`));
    this.engine.serve.child.kill("SIGUSR2");
    const memory = JSON.parse(await line) as HeldMemory;
    const process = `/proc/${this.engine.serve.child.pid!}`;
    const descriptors = readdirSync(`${process}/fd`).filter((name) => isHeld(`${process}/fd/${name}`)).length;
    return { ...memory, descriptors, threads: readdirSync(`${process}/task`).length };
  }

  /** Stops it. What it logged may hold no failure of its own. */
  async stop(): Promise<void> {
    this.#good.close();
    const { code, stdout, stderr } = await this.engine.stop();
    assert.equal(code, 0, stderr);
    const failures = `${stdout}${stderr}`
      .split("\n")
      .filter((line) => /request\.failed|worker\.down/.test(line));
    assert.deepEqual(failures, []);
  }
}

function payloadOf(sequence: number): Buffer {
  return Buffer.from(`good message ${sequence} ${"0123456789".repeat(sequence % 20)}`);
}

/** Of its own accord libuv keeps /dev/null open for each loop, from the first socket of the loop on. */
function isHeld(descriptor: string): boolean {
  try {
    return readlinkSync(descriptor) !== "/dev/null";
  } catch (thrown) {
    // Closed since the directory was read.
    if (systemCode(thrown) === "ENOENT") return false;
    throw thrown;
  }
}
