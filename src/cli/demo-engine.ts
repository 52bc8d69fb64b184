import { spawn, type ChildProcessByStdio } from "node:child_process";
import { readdirSync, statSync } from "node:fs";
import path from "node:path";
import { createInterface } from "node:readline";
import type { Readable } from "node:stream";
import { fileURLToPath } from "node:url";
import { endOf, type ChildProcesses } from "./demo-child.ts";
import type { KinesisAccess } from "./demo-kinesis.ts";

type EngineProcess = ChildProcessByStdio<null, Readable, Readable>;

export interface DemoEngine {
  readonly pid: number;
  readonly port: number;
  /** @throws when it does not end with exit code 0 */
  stop(): Promise<void>;
}

type Environment = Readonly<Record<string, string | undefined>>;

const LOG_LINES_MAX = 20;

interface EngineStart {
  readonly storeDirectory: string;
  readonly env: Environment;
  /** Beside those of every such engine. */
  readonly flags?: Readonly<Record<string, string>>;
}

/** Starts the engine as anyone starts it: the program's own `serve`, on a free port, with a store that is empty. */
export async function startEngine(processes: ChildProcesses, options: EngineStart): Promise<DemoEngine> {
  const child = spawnEngine(options);
  const lines: string[] = [];
  createInterface({ input: child.stderr }).on("line", (line) => {
    lines.push(line);
    if (lines.length > LOG_LINES_MAX) lines.shift();
  });
  const log = () => lines.join("\n");
  processes.add(child, { name: "engine", log });
  const port = await readyPort(child);
  return {
    port,
    pid: child.pid!,
    stop: async () => {
      await processes.stop(child);
      if (child.exitCode !== 0) throw new Error(`The engine stopped with ${endOf(child)}: ${log()}`);
    },
  };
}

function spawnEngine({ storeDirectory, env, flags: more = {} }: EngineStart): EngineProcess {
  const program = fileURLToPath(new URL("../millrace.js", import.meta.url));
  const flags = {
    "--store-directory": storeDirectory,
    "--host": "127.0.0.1",
    "--port": "0",
    "--authenticate": "true",
    "--log-level": "WARN",
    ...more,
  };
  return spawn(process.execPath, [program, "serve", "--json", ...Object.entries(flags).flat()], {
    env,
    stdio: ["ignore", "pipe", "pipe"],
    // In a process group of its own, so that a Ctrl-C reaches it by way of the demo only.
    detached: true,
  });
}

async function readyPort(child: EngineProcess): Promise<number> {
  return new Promise((resolve) => {
    createInterface({ input: child.stdout }).on("line", (line) => {
      const event = JSON.parse(line) as { event?: string; port?: number };
      if (event.event === "ready" && event.port !== undefined) resolve(event.port);
    });
  });
}

/** Bytes of the segment files of all streams. */
export function storedBytes(storeDirectory: string): number {
  const streams = path.join(storeDirectory, "streams");
  return readdirSync(streams, { recursive: true, encoding: "utf8" })
    .filter((name) => name.endsWith(".lz4"))
    .reduce((sum, name) => sum + statSync(path.join(streams, name)).size, 0);
}

/** The environment of an engine that exports to the given Kinesis; a profile of the user must not win over the emulator. */
export function engineEnvironment(
  env: Environment,
  { endpoint, region, credentials }: KinesisAccess,
): Environment {
  const target = { ...env, AWS_ENDPOINT_URL_KINESIS: endpoint, AWS_REGION: region };
  if (credentials === undefined) return target;
  return {
    ...target,
    AWS_ACCESS_KEY_ID: credentials.accessKeyId,
    AWS_SECRET_ACCESS_KEY: credentials.secretAccessKey,
    AWS_SESSION_TOKEN: undefined,
    AWS_PROFILE: undefined,
    AWS_IGNORE_CONFIGURED_ENDPOINT_URLS: undefined,
  };
}
