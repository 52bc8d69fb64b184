import assert from "node:assert/strict";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { setTimeout as after } from "node:timers/promises";
import { readToken } from "../../src/net/token-store.ts";
import { endPrograms, Program, runProgram, type CleanUp, type Finished } from "./program.ts";

/** The program in this build; compiled to dist/test/support/. */
const builtProgram = path.join(import.meta.dirname, "..", "..", "src", "millrace.js");

export interface EngineProcessOptions {
  /** The Node.js binary; the one that runs the test by default. */
  readonly nodePath?: string;
  /** The program; this build's by default. */
  readonly program?: string;
  readonly env?: Readonly<Record<string, string>>;
}

/** A running `millrace serve` with a store of its own, on a free port, and the commands that find it by themselves. */
export class EngineProcess {
  readonly serve: Program;
  readonly port: number;
  readonly storeDirectory: string;
  readonly #t: CleanUp;
  #token: string | undefined;
  readonly #options: EngineProcessOptions;

  private constructor(
    t: CleanUp,
    options: EngineProcessOptions,
    started: { serve: Program; port: number; storeDirectory: string },
  ) {
    this.#t = t;
    this.#options = options;
    this.serve = started.serve;
    this.port = started.port;
    this.storeDirectory = started.storeDirectory;
  }

  /** Starts in a fresh store, or in that of an engine that has ended. */
  static async start(
    t: CleanUp,
    options: EngineProcessOptions & { storeDirectory?: string } = {},
  ): Promise<EngineProcess> {
    const storeDirectory = options.storeDirectory ?? temporaryDirectory(t);
    const serve = EngineProcess.spawn(t, { ...options, storeDirectory });
    return EngineProcess.attach(t, serve, { ...options, storeDirectory });
  }

  /** Waits until a process that `spawn` started is ready. Fails when it ends before. */
  static async attach(
    t: CleanUp,
    serve: Program,
    options: EngineProcessOptions & { storeDirectory: string },
  ): Promise<EngineProcess> {
    const { storeDirectory } = options;
    const ready = JSON.parse(await serve.line("stdout", /"ready"/)) as { port: number };
    return new EngineProcess(t, options, { serve, port: ready.port, storeDirectory });
  }

  /** The process alone, without waiting for it to be ready. */
  static spawn(t: CleanUp, options: EngineProcessOptions & { storeDirectory: string }): Program {
    const { nodePath, program = builtProgram } = options;
    const env = environment(options, { storeDirectory: options.storeDirectory, port: 0 });
    return new Program(t, [program, "serve", "--json"], { env, ...(nodePath && { nodePath }) });
  }

  /** What a client must present; undefined while authentication is off and never was on. */
  get token(): string | undefined {
    // Once: the medium may fail later, as a test wants it to.
    this.#token ??= readToken(path.join(this.storeDirectory, "store"));
    return this.#token;
  }

  /** What the engine's metrics page says, as its owner sees it. */
  async metrics(): Promise<string> {
    const headers = { authorization: `Bearer ${this.token ?? ""}` };
    const response = await fetch(`http://127.0.0.1:${this.port}/metrics`, { headers });
    assert.equal(response.status, 200);
    return response.text();
  }

  /** Variables under which a command finds this engine and its token. */
  get env(): Record<string, string> {
    return environment(this.#options, this);
  }

  /** Runs a command to its end. */
  async run(args: readonly string[], input: string | Uint8Array = ""): Promise<Finished> {
    const { nodePath, program = builtProgram } = this.#options;
    return runProgram(this.#t, [program, ...args], { env: this.env, input, ...(nodePath && { nodePath }) });
  }

  /** A command that goes on until the test ends it. */
  launch(args: readonly string[]): Program {
    const { nodePath, program = builtProgram } = this.#options;
    return new Program(this.#t, [program, ...args], { env: this.env, ...(nodePath && { nodePath }) });
  }

  /** Asks for a clean stop and waits for the end. */
  async stop(): Promise<Finished> {
    this.serve.child.kill("SIGTERM");
    return this.serve.finished();
  }

  /** Stops every thread where it is, but for those that wait for a disk; on return none runs. */
  async suspend(): Promise<void> {
    this.serve.child.kill("SIGSTOP");
    const tasks = `/proc/${String(this.serve.child.pid)}/task`;
    const isStill = (thread: string): boolean => {
      const stat = readFileSync(`${tasks}/${thread}/stat`, "latin1");
      return /^[TD]/.test(stat.slice(stat.lastIndexOf(")") + 2));
    };
    while (!readdirSync(tasks).every(isStill)) await after(1);
  }

  /** Ends the process as a power switch would, but for what the kernel holds. */
  async kill(): Promise<Finished> {
    this.serve.child.kill("SIGKILL");
    return this.serve.finished();
  }
}

/** Nothing of the tester's own settings reaches the engine. */
function environment(
  { env }: EngineProcessOptions,
  { storeDirectory, port }: { storeDirectory: string; port: number },
): Record<string, string> {
  return {
    PATH: process.env["PATH"] ?? "",
    HOME: storeDirectory,
    STREAM_MANAGER_STORE_ROOT_DIR: path.join(storeDirectory, "store"),
    STREAM_MANAGER_SERVER_PORT: String(port),
    LOG_LEVEL: "warn",
    ...env,
  };
}

/** Removed when the test ends, behind the programs that it started: an engine that runs makes files again. */
export function temporaryDirectory(t: CleanUp): string {
  const directory = mkdtempSync(path.join(tmpdir(), "millrace-test-"));
  t.after(async () => {
    await endPrograms(t);
    rmSync(directory, { recursive: true, force: true });
  });
  return directory;
}
