import { spawn } from "node:child_process";
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import path from "node:path";
import { createInterface } from "node:readline";
import type { Bench, BenchOptions, BenchRecord, BenchValues } from "../bench.ts";
import { endWithBench } from "../clean-up.ts";
import { repositoryRoot } from "../environment.ts";
import { BenchEngine, engineScript } from "./append-case.ts";
import { profileArgs } from "./profile-args.ts";

const MESSAGE_COUNT = 32_768;
const STDERR_CHARACTERS_MAX = 4096;
const script = path.join(repositoryRoot, "tools", "python", "bench.py");
const python = process.env["MILLRACE_TEST_PYTHON"] ?? "python3";

/** `tools/python/bench.py` against an engine process, with the messages of every bench. */
export const pythonBench: Bench = {
  name: "python",
  secondsDefault: 3,
  takes: ["data-set"],
  settings: {},
  async *run(benchOptions: BenchOptions): AsyncGenerator<BenchRecord> {
    const { caseFilter, seconds, storeRoot, createDataSet, profileDirectory } = benchOptions;
    const engine = await BenchEngine.start({
      engineScript,
      storeRoot,
      nodeArgs: profileArgs(profileDirectory),
    });
    try {
      const payloads = path.join(engine.storeDirectory, "bench-payloads");
      writeFileSync(payloads, createDataSet(MESSAGE_COUNT).messages.map(toLine).join(""));
      const url = `ws://${engine.server.host}:${engine.server.port}`;
      const options = { url, payloads, case: caseFilter, seconds: String(seconds) };
      yield* runScript(Object.entries(options).map(([name, value]) => `--${name}=${value}`));
      await engine.stop();
    } finally {
      await engine.kill();
    }
  },
};

function toLine(message: Uint8Array): string {
  return `${Buffer.from(message).toString()}\n`;
}

async function* runScript(args: readonly string[]): AsyncGenerator<BenchRecord> {
  const child = endWithBench(spawn(python, ["-B", script, ...args], { stdio: ["ignore", "pipe", "pipe"] }));
  const ended = once(child, "close") as Promise<[number | null]>;
  // Awaited below; a program that cannot be started fails it at once.
  ended.catch(() => undefined);
  let stderr = "";
  child.stderr.on("data", (data: Buffer) => {
    stderr = (stderr + data.toString()).slice(-STDERR_CHARACTERS_MAX);
  });
  try {
    for await (const line of createInterface({ input: child.stdout })) {
      const { name, ...values } = JSON.parse(line) as BenchValues & { readonly name: string };
      yield { name, values };
    }
    const [code] = await ended;
    if (code !== 0) throw new Error(`${script} ended with ${code ?? "a signal"}: ${stderr}`);
  } finally {
    child.kill("SIGKILL");
  }
}
