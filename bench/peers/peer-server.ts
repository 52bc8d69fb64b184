import { spawn, spawnSync, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { connect } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { endWithBench, makeBenchDirectory, removeBenchDirectory } from "../clean-up.ts";
import { freePort } from "../free-port.ts";
import { statusMib } from "../scenario/process-stats.ts";

const READY_DEADLINE_MS = 15_000;
const READY_POLL_MS = 20;
const OUTPUT_CHARACTERS_MAX = 8192;

/** How a peer's server is started. */
export interface PeerServerKind {
  readonly program: string;
  readonly debianPackage: string;
  readonly words: (place: { readonly directory: string; readonly port: number }) => readonly string[];
}

export const natsServer: PeerServerKind = {
  program: "nats-server",
  debianPackage: "nats-server",
  words: ({ directory, port }) => ["-a", "127.0.0.1", "-p", String(port), "-js", "-sd", directory],
};

/** `appendfsync` decides what an answer means: `everysec` answers before the sync, `always` behind it. */
export function redisServer(appendfsync: "everysec" | "always"): PeerServerKind {
  return {
    program: "redis-server",
    debianPackage: "redis-server",
    words: ({ directory, port }) =>
      Object.entries({
        bind: "127.0.0.1",
        port: String(port),
        dir: directory,
        daemonize: "no",
        // The append-only file alone is the store; it is not rewritten, so that its size is what was written.
        save: "",
        appendonly: "yes",
        appendfsync,
        "auto-aof-rewrite-percentage": "0",
      }).flatMap(([name, value]) => [`--${name}`, value]),
  };
}

/** The version that a program tells, or undefined where it is not installed. */
export function versionOf(program: string): string | undefined {
  const { error, stdout } = spawnSync(program, ["--version"], { encoding: "utf8" });
  if (error) return undefined;
  return /v=?(\d+[\d.]*)/.exec(stdout)?.[1] ?? stdout.trim();
}

/** A peer's server with a store of its own, which is removed with it. */
export class PeerServer {
  readonly port: number;
  readonly directory: string;
  readonly #child: ChildProcess;

  private constructor(child: ChildProcess, place: { port: number; directory: string }) {
    this.#child = child;
    this.port = place.port;
    this.directory = place.directory;
  }

  static async start(kind: PeerServerKind, storeRoot: string): Promise<PeerServer> {
    const directory = makeBenchDirectory(storeRoot, "peer");
    const port = await freePort();
    const child = endWithBench(
      spawn(kind.program, kind.words({ directory, port }), { stdio: ["ignore", "pipe", "pipe"] }),
    );
    const output = { text: "" };
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding("utf8").on("data", (text: string) => {
        output.text = (output.text + text).slice(-OUTPUT_CHARACTERS_MAX);
      });
    }
    const server = new PeerServer(child, { port, directory });
    try {
      await once(child, "spawn");
      await server.#untilListening(output);
      return server;
    } catch (error) {
      await server.stop();
      throw error;
    }
  }

  get pid(): number {
    const { pid } = this.#child;
    if (pid === undefined) throw new Error("the server has no process");
    return pid;
  }

  residentPeakMib(): number {
    return statusMib(this.pid, "VmHWM");
  }

  /** Its data is not asked for again, so it is not waited for either. */
  async stop(): Promise<void> {
    if (this.#child.exitCode === null && this.#child.signalCode === null && this.#child.pid !== undefined) {
      const closed = once(this.#child, "close");
      this.#child.kill("SIGKILL");
      await closed;
    }
    removeBenchDirectory(this.directory);
  }

  async #untilListening(output: { readonly text: string }): Promise<void> {
    const deadlineMs = performance.now() + READY_DEADLINE_MS;
    while (!(await isListening(this.port))) {
      if (this.#child.exitCode !== null) throw new Error(`the server has ended: ${output.text.trim()}`);
      if (performance.now() > deadlineMs)
        throw new Error(`the server does not listen: ${output.text.trim()}`);
      await sleep(READY_POLL_MS);
    }
  }
}

async function isListening(port: number): Promise<boolean> {
  const socket = connect(port, "127.0.0.1");
  try {
    await once(socket, "connect");
    return true;
  } catch {
    return false;
  } finally {
    socket.destroy();
  }
}
