import { spawn, spawnSync, type ChildProcess } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { existsSync, mkdirSync, readFileSync, renameSync } from "node:fs";
import path from "node:path";
import { createInterface, type Interface } from "node:readline";
import { endWithBench } from "../clean-up.ts";
import { repositoryRoot } from "../environment.ts";
import { LatencyHistogram } from "../latency-histogram.ts";
import type { Slice } from "../scenario/slice.ts";

const STDERR_CHARACTERS_MAX = 4096;
const sourceDirectory = path.join(repositoryRoot, "bench", "peers");

/** The drivers in C, since the peers' C clients are their fastest. `library` is what they are linked with. */
export const drivers = {
  nats: { source: "nats-driver.c", library: "nats", debianPackage: "libnats-dev" },
  redis: { source: "redis-driver.c", library: "hiredis", debianPackage: "libhiredis-dev" },
} as const;
export type DriverName = keyof typeof drivers;

/** A driver that cannot be compiled here: its peer is not measured. */
export class DriverBuildError extends Error {}

/** Compiles a driver where it has not been yet. @returns its path. @throws DriverBuildError with the compiler's own words */
export function buildDriver(
  name: DriverName,
  {
    compiler = process.env["CC"] ?? "cc",
    directory = path.join(repositoryRoot, ".cache", "bench", "peers"),
  } = {},
): string {
  const { source, library, debianPackage } = drivers[name];
  const sources = [source, "driver.h"].map((file) => readFileSync(path.join(sourceDirectory, file)));
  const hash = createHash("sha256").update(Buffer.concat(sources)).digest("hex").slice(0, 12);
  const program = path.join(directory, `${name}-driver-${hash}`);
  if (existsSync(program)) return program;
  mkdirSync(directory, { recursive: true });
  const partial = `${program}.${process.pid}`;
  const built = spawnSync(
    compiler,
    ["-O2", "-Wall", "-o", partial, path.join(sourceDirectory, source), `-l${library}`],
    { encoding: "utf8" },
  );
  if (built.error ?? built.status !== 0) {
    const reason = built.error?.message ?? built.stderr.trim();
    throw new DriverBuildError(
      `Cannot build ${source}: ${reason} (it needs a C compiler and Debian's ${debianPackage}, or the library by another way)`,
    );
  }
  renameSync(partial, program);
  return program;
}

interface DriverSlice {
  readonly elapsed_s: number;
  readonly messages: number;
  readonly payload_bytes: number;
  readonly latencies_us: readonly number[];
}

/** A driver that is connected to its server. */
export class DriverProcess {
  readonly #child: ChildProcess;
  readonly #lines: AsyncIterator<string>;
  readonly #reader: Interface;
  readonly #stderr: { text: string };
  /** Behind the end of its output, what it said of its failure included. */
  readonly #closed: Promise<unknown>;

  private constructor(child: ChildProcess, reader: Interface, stderr: { text: string }) {
    this.#child = child;
    this.#reader = reader;
    this.#lines = reader[Symbol.asyncIterator]();
    this.#stderr = stderr;
    this.#closed = once(child, "close");
    this.#closed.catch(() => undefined);
  }

  /** Resolves once the stream is there. @throws Error when the program ends before */
  static async start(
    program: string,
    options: { target: string; messagesPath: string; packBytes: number; window: number },
  ): Promise<DriverProcess> {
    const { target, messagesPath, packBytes, window } = options;
    const words = [target, messagesPath, String(packBytes), String(window)];
    const child = endWithBench(spawn(program, words, { stdio: ["pipe", "pipe", "pipe"] }));
    const stderr = { text: "" };
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      stderr.text = (stderr.text + text).slice(-STDERR_CHARACTERS_MAX);
    });
    // A driver that has ended does not read; what it says itself is the better news.
    child.stdin.on("error", () => undefined);
    const driver = new DriverProcess(child, createInterface({ input: child.stdout }), stderr);
    try {
      await once(child, "spawn");
      await driver.#answer();
      return driver;
    } catch (error) {
      await driver.kill();
      throw error;
    }
  }

  get pid(): number {
    const { pid } = this.#child;
    if (pid === undefined) throw new Error("the driver has no process");
    return pid;
  }

  async run(seconds: number): Promise<Slice> {
    this.#child.stdin!.write(`run ${seconds}\n`);
    const slice = (await this.#answer()) as DriverSlice;
    const latencies = new LatencyHistogram();
    for (const latencyUs of slice.latencies_us) latencies.add(latencyUs);
    return {
      elapsedS: slice.elapsed_s,
      messageCount: slice.messages,
      payloadBytes: slice.payload_bytes,
      latencies,
    };
  }

  /** Ends the driver. @returns how many payloads the server says it took */
  async end(): Promise<number> {
    this.#child.stdin!.write("end\n");
    const { stored_payloads: stored } = (await this.#answer()) as { stored_payloads: number };
    await this.kill();
    return stored;
  }

  async kill(): Promise<void> {
    this.#reader.close();
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    this.#child.kill("SIGKILL");
    await this.#closed.catch(() => undefined);
  }

  async #answer(): Promise<unknown> {
    const line = await this.#lines.next();
    if (line.done === true) {
      await this.#closed;
      throw new Error(`the driver has ended: ${this.#stderr.text.trim()}`);
    }
    return JSON.parse(line.value);
  }
}
