import { spawn, type ChildProcessWithoutNullStreams } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import type { TestContext } from "node:test";

/** Where to leave what is to be done at the end: a test, or a program that is none. */
export type CleanUp = Pick<TestContext, "after">;

export interface ProgramOptions {
  readonly env?: NodeJS.ProcessEnv;
  /** The Node.js binary; the one that runs the test by default. */
  readonly nodePath?: string;
}

export interface Finished {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** A program of ours in a process of its own, killed when the test ends. */
export class Program {
  readonly child: ChildProcessWithoutNullStreams;
  readonly #finished: Promise<Finished>;
  #stdout = "";
  #stderr = "";

  constructor(t: CleanUp, args: readonly string[], { env = process.env, nodePath }: ProgramOptions = {}) {
    // Under the test runner's own variable a child would report to it instead of running as it is.
    this.child = spawn(nodePath ?? process.execPath, args, { env: { ...env, NODE_TEST_CONTEXT: undefined } });
    this.child.stdout.on("data", (data: Buffer) => (this.#stdout += data.toString("latin1")));
    this.child.stderr.on("data", (data: Buffer) => (this.#stderr += data.toString()));
    this.#finished = once(this.child, "close").then(([code, signal]) => ({
      code: code as number | null,
      signal: signal as NodeJS.Signals | null,
      stdout: this.#stdout,
      stderr: this.#stderr,
    }));
    t.after(async () => {
      this.child.kill("SIGKILL");
      await this.#finished;
    });
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
