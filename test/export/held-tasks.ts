import assert from "node:assert/strict";
import { MillraceError } from "../../src/core/errors.ts";
import type { BatchResult, BatchTask, ExportResult, ExportTask } from "../../src/export/export-channel.ts";
import type { TaskPool } from "../../src/export/export-pool.ts";

interface HeldTask<T extends ExportTask = ExportTask> {
  readonly task: T;
  readonly end: (result: ExportResult) => void;
  /** Its thread dies. */
  readonly die: () => void;
}

/** Export workers that do nothing until the test says how a task ends. */
export class HeldTasks implements TaskPool {
  readonly all: ExportTask[] = [];
  #held: HeldTask[] = [];

  run(task: ExportTask): Promise<ExportResult> {
    this.all.push(task);
    return new Promise((resolve, reject) => {
      const release = (settle: () => void): void => {
        this.#held = this.#held.filter((one) => one.task !== task);
        settle();
      };
      const end = (result: ExportResult): void => release(() => resolve(result));
      const die = (): void => release(() => reject(new MillraceError("INTERNAL", "the thread died")));
      this.#held.push({ task, end, die });
    });
  }

  close(): Promise<void> {
    return Promise.resolve();
  }

  get held(): readonly HeldTask[] {
    return this.#held;
  }

  /** The only task that is out. */
  only(): HeldTask {
    const [task, ...others] = this.#held;
    assert.ok(task !== undefined && others.length === 0, `${this.#held.length} tasks are out`);
    return task;
  }

  /** The batch that is out for the exporter. */
  batchOf(identifier: string): HeldTask<BatchTask> {
    const found = this.#held.find(({ task }) => task.kind === "batch" && task.identifier === identifier);
    assert.ok(found !== undefined, `no batch of ${identifier} is out`);
    return found as HeldTask<BatchTask>;
  }
}

/** How a batch ends that came to nothing. */
export function endOf(
  task: BatchTask,
  ended: Pick<BatchResult, "outcome"> & Partial<BatchResult>,
): BatchResult {
  const { cursor, pending } = task;
  const nothing = { isStartSettled: false, condemned: [], file: undefined, cursorError: "" };
  return { kind: "batch", cursor, pending, ...nothing, ...ended };
}

/** Everything that follows without time passing. */
export function settled(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
