import assert from "node:assert/strict";
import { mkdirSync, readdirSync, readFileSync, renameSync } from "node:fs";
import path from "node:path";
import { test, type TestContext } from "node:test";
import { setTimeout as after } from "node:timers/promises";
import { MillraceClient } from "../../src/client/millrace-client.ts";
import type { FileExportInput } from "../../src/core/exporter-options.ts";
import { Persistence, StrategyOnFull } from "../../src/core/stream-definition.ts";
import { EngineProcess, temporaryDirectory } from "../support/engine-process.ts";

const timeout = 60_000;
const DEADLINE_MS = 20_000;
const NEVER_MS = 3_600_000;

/** An engine whose exporters write files, and streams that go quiet. */
class Bench {
  readonly root: string;
  readonly #t: TestContext;
  #engine: EngineProcess | undefined;
  #client: MillraceClient | undefined;

  private constructor(t: TestContext) {
    this.#t = t;
    this.root = temporaryDirectory(t);
    t.after(() => this.#client?.close());
  }

  static async start(t: TestContext): Promise<Bench> {
    const bench = new Bench(t);
    await bench.#run({});
    return bench;
  }

  async #run(store: { storeDirectory?: string }): Promise<void> {
    const env = { MILLRACE_EXPORT_FILE_DIRS: this.root };
    this.#engine = await EngineProcess.start(this.#t, { env, ...store });
    const { port, token = "" } = this.#engine;
    this.#client = await MillraceClient.connect({ url: `ws://127.0.0.1:${port}`, token });
  }

  async kill(): Promise<void> {
    this.client.close();
    await this.#engine!.kill();
  }

  async stop(): Promise<void> {
    this.client.close();
    assert.equal((await this.#engine!.stop()).code, 0);
  }

  async restart(): Promise<void> {
    await this.#run({ storeDirectory: this.#engine!.storeDirectory });
  }

  get client(): MillraceClient {
    assert.ok(this.#client !== undefined);
    return this.#client;
  }

  /** A stream of three messages that an exporter has written into a file that grows. */
  async quietStream(
    name: string,
    changes: Partial<FileExportInput> = {},
    persistence: Persistence = Persistence.File,
  ): Promise<void> {
    const definition = { name, strategyOnFull: StrategyOnFull.RejectNewData, persistence };
    await this.client.createMessageStream(definition, { files: [this.exporter(name, changes)] });
    await this.send(name, ["one", "two", "three"]);
    await this.grown(name, "one\ntwo\nthree\n");
  }

  /** Appends messages as one batch. @returns the number of the first */
  async send(name: string, messages: readonly string[]): Promise<number> {
    const producer = await this.client.producer(name);
    const first = await producer.send(messages);
    await producer.close();
    return first;
  }

  async grown(name: string, text: string): Promise<void> {
    await until(
      () => this.names(name).some((file) => this.#text(name, file) === text),
      `that the file of ${name} grows: ${this.names(name).join(" ")}`,
    );
  }

  exporter(name: string, changes: Partial<FileExportInput> = {}): FileExportInput {
    const directory = path.join(this.root, name);
    mkdirSync(directory, { recursive: true });
    return { identifier: "f", directory, format: "raw", rotateMillis: NEVER_MS, ...changes };
  }

  configure(name: string, files: readonly FileExportInput[]): Promise<void> {
    return this.client.configureStream(name, { files });
  }

  names(name: string): string[] {
    return readdirSync(path.join(this.root, name)).sort();
  }

  #text(name: string, file: string): string {
    return readFileSync(path.join(this.root, name, file), "utf8");
  }

  isComplete(name: string): boolean {
    const files = this.names(name).filter((file) => !file.startsWith("."));
    return files.length === 1 && files[0]!.endsWith(".raw");
  }

  /** One whole file, and nothing else but what is known of it where the exporter goes on. */
  async completed(name: string, { goesOn = false } = {}): Promise<void> {
    await until(
      () => this.isComplete(name) && (goesOn || this.names(name).length === 1),
      `that ${name} has one complete file: ${this.names(name).join(" ")}`,
    );
    const file = this.names(name).find((one) => one.endsWith(".raw"))!;
    assert.equal(this.#text(name, file), "one\ntwo\nthree\n");
  }
}

async function until(isDone: () => boolean, what: string): Promise<void> {
  const deadlineMs = performance.now() + DEADLINE_MS;
  while (!isDone()) {
    if (performance.now() > deadlineMs) assert.fail(`it did not happen ${what}`);
    await after(10);
  }
}

test("the file of a stream that goes quiet is completed about when it is time", { timeout }, async (t) => {
  const bench = await Bench.start(t);
  await bench.quietStream("quiet", { rotateMillis: 2000 });
  const beganMs = performance.now();
  assert.ok(!bench.isComplete("quiet"));
  await bench.completed("quiet", { goesOn: true });
  t.diagnostic(`completed after ${Math.round(performance.now() - beganMs)} ms of 2000`);
});

test(
  "the file of a quiet stream is completed in time by the engine that comes after a kill",
  { timeout },
  async (t) => {
    const bench = await Bench.start(t);
    await bench.quietStream("quiet", { rotateMillis: 2000 });
    await bench.quietStream("waits");
    await bench.kill();
    assert.ok(!bench.isComplete("quiet"));
    await bench.restart();
    await bench.completed("quiet", { goesOn: true });
    assert.ok(!bench.isComplete("waits"), "its time has not come");
  },
);

test(
  "the file of a Memory stream keeps all that is in it when a restart has the stream number from 0 again",
  { timeout },
  async (t) => {
    const bench = await Bench.start(t);
    await bench.quietStream("memory", {}, Persistence.Memory);
    await bench.stop();
    await bench.restart();
    assert.equal(await bench.send("memory", ["four", "five", "six", "seven"]), 0);
    await bench.grown("memory", "one\ntwo\nthree\nfour\nfive\nsix\nseven\n");
  },
);

test(
  "files are completed when their exporter is disabled, goes, moves, or loses its stream",
  { timeout },
  async (t) => {
    const bench = await Bench.start(t);
    for (const name of ["disabled", "gone", "moved", "deleted"]) await bench.quietStream(name);
    await bench.quietStream("memory", {}, Persistence.Memory);
    await bench.configure("disabled", [bench.exporter("disabled", { disabled: true })]);
    await bench.configure("gone", []);
    await bench.configure("memory", []);
    await bench.configure("moved", [
      bench.exporter("moved", { directory: bench.exporter("elsewhere").directory }),
    ]);
    await bench.client.deleteMessageStream("deleted");
    assert.ok(bench.isComplete("deleted"), "before the answer");
    for (const name of ["disabled", "gone", "moved", "deleted", "memory"]) await bench.completed(name);
    // One that comes under the same name begins with the first message, and writes into no file of the other.
    await bench.configure("gone", [bench.exporter("gone")]);
    await until(() => bench.names("gone").some((name) => name.endsWith(".part")), "that it begins again");
  },
);

test(
  "a file that could not be completed when its exporter or its stream went is, by the next engine",
  { timeout },
  async (t) => {
    const bench = await Bench.start(t);
    const names = ["gone", "deleted"];
    for (const name of names) await bench.quietStream(name);
    const directories = names.map((name) => bench.exporter(name).directory);
    for (const directory of directories) renameSync(directory, `${directory}-away`);
    await bench.configure("gone", []);
    await bench.client.deleteMessageStream("deleted");
    await bench.kill();
    for (const directory of directories) renameSync(`${directory}-away`, directory);
    await bench.restart();
    for (const name of names) await bench.completed(name);
  },
);
