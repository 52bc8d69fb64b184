import { spawn, type ChildProcessWithoutNullStreams } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import type { TestContext } from "node:test";

/** Where to leave what is to be done at the end: a test, or a program that is none. */
export type CleanUp = Pick<TestContext, "after">;

export interface ProgramOptions {
  readonly env?: NodeJS.ProcessEnv;
  /** The Node.js binary, or another interpreter; the one that runs the test by default. */
  readonly nodePath?: string;
  /** Where it runs; where the test does by default. */
  readonly directory?: string;
}

export interface Finished {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

const started = new WeakMap<CleanUp, Set<Program>>();

/** Kills what a test has started and waits for the ends, so that nothing is taken from under a program that runs. */
export async function endPrograms(t: CleanUp): Promise<void> {
  for (const program of started.get(t) ?? []) await program.end();
}

/** A program of ours in a process of its own, killed when the test ends. */
export class Program {
  readonly child: ChildProcessWithoutNullStreams;
  readonly #finished: Promise<Finished>;
  #stdout = "";
  #stderr = "";

  constructor(t: CleanUp, args: readonly string[], options: ProgramOptions = {}) {
    const { env = process.env, nodePath = process.execPath, directory } = options;
    // Under the test runner's own variable a child would report to it instead of running as it is.
    this.child = spawn(nodePath, args, { env: { ...env, NODE_TEST_CONTEXT: undefined }, cwd: directory });
    this.child.stdout.on("data", (data: Buffer) => (this.#stdout += data.toString("latin1")));
    this.child.stderr.on("data", (data: Buffer) => (this.#stderr += data.toString()));
    this.#finished = once(this.child, "close").then(([code, signal]) => ({
      code: code as number | null,
      signal: signal as NodeJS.Signals | null,
      stdout: this.#stdout,
      stderr: this.#stderr,
    }));
    started.set(t, (started.get(t) ?? new Set()).add(this));
    t.after(() => this.end());
  }

  /** The first line of an output that matches. Fails when the program ends without it. */
  async line(output: "stdout" | "stderr", pattern: RegExp): Promise<string> {
    const lines = createInterface({ input: this.child[output] });
    const found = (async () => {
      for await (const line of lines) if (pattern.test(line)) return line;
      const { code, stdout, stderr } = await this.#finished;
      throw new Error(`no line ${String(pattern)}; code ${String(code)}, ${stdout}${stderr}`);
    })();
    return found;
  }

  /** Kills it, if it still runs, and waits for the end. */
  async end(): Promise<void> {
    this.child.kill("SIGKILL");
    await this.#finished;
  }

  /** Waits for the end. Standard output comes as Latin-1, so that bytes stay bytes. */
  async finished(): Promise<Finished> {
    return this.#finished;
  }
}

/** Runs to the end with `input` on standard input. */
export async function runProgram(
  t: CleanUp,
  args: readonly string[],
  { input = "", ...options }: ProgramOptions & { readonly input?: string | Uint8Array } = {},
): Promise<Finished> {
  const program = new Program(t, args, options);
  // A program that ends without reading its input closes the pipe under the writer.
  program.child.stdin.on("error", () => undefined);
  program.child.stdin.end(input);
  return program.finished();
}
