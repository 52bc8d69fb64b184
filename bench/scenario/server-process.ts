import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import type { Readable } from "node:stream";
import { endWithBench } from "../clean-up.ts";
import { processCpuSeconds, statusMib } from "./process-stats.ts";

const READY_DEADLINE_MS = 60_000;
const STOP_DEADLINE_MS = 15_000;
const STDERR_CHARACTERS_MAX = 8192;

export interface ServerProcessOptions {
  readonly script: string;
  readonly args?: readonly string[];
  readonly nodeArgs?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
}

/** A program of ours in a process of its own that says `{"event":"ready","host":…,"port":…}` in its first line. */
export class ServerProcess {
  readonly host: string;
  readonly port: number;
  readonly #child: ChildProcess;
  readonly #stderr: { text: string };

  private constructor(child: ChildProcess, ready: { host: string; port: number }, stderr: { text: string }) {
    this.#child = child;
    this.host = ready.host;
    this.port = ready.port;
    this.#stderr = stderr;
  }

  static async start({
    script,
    args = [],
    nodeArgs = [],
    env = {},
  }: ServerProcessOptions): Promise<ServerProcess> {
    const child = endWithBench(
      spawn(process.execPath, [...nodeArgs, script, ...args], {
        // Under the test runner's own variable a child would report to it instead of running as it is.
        env: { ...process.env, NODE_TEST_CONTEXT: undefined, ...env },
        stdio: ["ignore", "pipe", "pipe"],
      }),
    );
    const stderr = { text: "" };
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      stderr.text = (stderr.text + text).slice(-STDERR_CHARACTERS_MAX);
    });
    const start = { isLate: false };
    const timer = setTimeout(() => {
      start.isLate = true;
      child.kill("SIGKILL");
    }, READY_DEADLINE_MS);
    try {
      return new ServerProcess(child, parseReady(await firstLine(child.stdout)), stderr);
    } catch (cause) {
      child.kill("SIGKILL");
      const reason = start.isLate
        ? `not ready within ${READY_DEADLINE_MS / 1000} s`
        : stderr.text.trim() || "no ready line";
      throw new Error(`Cannot start ${script}: ${reason}`, { cause });
    } finally {
      clearTimeout(timer);
    }
  }

  get pid(): number {
    const { pid } = this.#child;
    if (pid === undefined) throw new Error("the server process has no id");
    return pid;
  }

  get isRunning(): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null;
  }

  get stderr(): string {
    return this.#stderr.text;
  }

  /** User and system time of all threads since the start. */
  cpuSeconds(): number {
    return processCpuSeconds(this.pid);
  }

  residentMib(): number {
    return statusMib(this.pid, "VmRSS");
  }

  residentPeakMib(): number {
    return statusMib(this.pid, "VmHWM");
  }

  /** Asks for a clean stop. @throws when the process does not end with code 0 in time */
  async stop(): Promise<void> {
    if (this.isRunning) {
      const closed = once(this.#child, "close");
      const timer = setTimeout(() => this.#child.kill("SIGKILL"), STOP_DEADLINE_MS);
      this.#child.kill("SIGTERM");
      await closed;
      clearTimeout(timer);
    }
    const { exitCode, signalCode } = this.#child;
    if (exitCode !== 0) {
      throw new Error(`the server ended with ${exitCode ?? signalCode ?? "nothing"}: ${this.stderr.trim()}`);
    }
  }

  /** Ends the process whatever it does, for the way out after a failure. */
  async kill(): Promise<void> {
    if (!this.isRunning) return;
    const closed = once(this.#child, "close");
    this.#child.kill("SIGKILL");
    await closed;
  }
}

async function firstLine(output: Readable): Promise<string> {
  const lines = createInterface({ input: output });
  for await (const line of lines) {
    // Whatever follows is read and dropped, so that the process never blocks on a full pipe.
    output.resume();
    return line;
  }
  throw new Error("the program ended without a ready line");
}

function parseReady(line: string): { host: string; port: number } {
  const ready = JSON.parse(line) as { event?: unknown; host?: unknown; port?: unknown };
  if (ready.event !== "ready" || typeof ready.host !== "string" || typeof ready.port !== "number") {
    throw new Error(`the first line is not a ready line: ${line}`);
  }
  return { host: ready.host, port: ready.port };
}
