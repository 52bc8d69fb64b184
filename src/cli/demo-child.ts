import type { ChildProcess } from "node:child_process";

/** How long a process may take to end in order before it is killed. */
const STOP_DEADLINE_MS = 15_000;

/** The processes of the demo. One that ends by itself ends the demo; none outlives it. */
export class ChildProcesses {
  readonly #controller: AbortController;
  readonly #running = new Map<ChildProcess, Promise<void>>();
  readonly #stopping = new Set<ChildProcess>();

  constructor(controller: AbortController) {
    this.#controller = controller;
  }

  /** Takes a process in; `log` gives what it said last. */
  add<T extends ChildProcess>(child: T, { name, log }: { name: string; log?: () => string }): T {
    // A process that could not be started has no number; nothing of it is left to end.
    if (child.pid !== undefined) {
      const ended = new Promise<void>((resolve) => void child.once("exit", () => resolve()));
      this.#running.set(child, ended);
    }
    child.once("error", (cause) => {
      this.#controller.abort(new Error(`Cannot run the ${name}: ${cause.message}`, { cause }));
    });
    // "close" comes after the last line of the log.
    child.once("close", () => {
      this.#running.delete(child);
      if (this.#stopping.has(child)) return;
      const said = log?.() ?? "";
      const text = `The ${name} ended with ${endOf(child)}`;
      this.#controller.abort(new Error(said === "" ? text : `${text}: ${said}`));
    });
    if (this.#controller.signal.aborted) this.#kill(child);
    return child;
  }

  /** Asks a process to end in order, and kills it if it does not. Resolves when it is gone. */
  async stop(child: ChildProcess): Promise<void> {
    const ended = this.#running.get(child);
    this.#stopping.add(child);
    const deadline = setTimeout(() => child.kill("SIGKILL"), STOP_DEADLINE_MS);
    child.kill("SIGTERM");
    await ended;
    clearTimeout(deadline);
  }

  /** Ends everything that is left, at once. */
  async killAll(): Promise<void> {
    const ended = [...this.#running.values()];
    for (const child of this.#running.keys()) this.#kill(child);
    await Promise.all(ended);
  }

  #kill(child: ChildProcess): void {
    this.#stopping.add(child);
    child.kill("SIGKILL");
  }
}

/** How a process ended, for a message. */
export function endOf({ exitCode, signalCode }: ChildProcess): string {
  return signalCode === null ? `exit code ${String(exitCode)}` : `signal ${signalCode}`;
}

/**
 * For a child: the parent decides when it ends. A Ctrl-C reaches every process of the terminal, and a parent that is killed
 * closes the channel.
 */
export function endWithParent(): void {
  process.on("SIGINT", () => undefined);
  process.on("disconnect", () => process.kill(process.pid, "SIGKILL"));
}
