import { EventName } from "../observe/events.ts";
import type { Logger } from "../observe/logger.ts";
import type { Exporter } from "./exporter.ts";

/** Tells once of a task that is out for longer than any link explains: a fault of ours has it, or a disk that hangs. */
export class StuckWatch {
  readonly #logger: Logger;
  readonly #told = new Set<string>();

  constructor(logger: Logger) {
    this.#logger = logger;
  }

  /** @returns when to look again, Infinity if nothing is out */
  look(exporters: Iterable<Exporter>, nowMs: number): number {
    let wakeAtMs = Infinity;
    for (const { key, stuckAtMs, settings, stream } of exporters) {
      if (stuckAtMs > nowMs) {
        this.#told.delete(key);
        wakeAtMs = Math.min(wakeAtMs, stuckAtMs);
      } else if (!this.#told.has(key)) {
        this.#told.add(key);
        const fields = { stream: stream.name, exporter: settings.identifier };
        this.#logger.error(EventName.ExportStuck, { ...fields, reason: "its batch does not come back" });
      }
    }
    return wakeAtMs;
  }

  forget(key: string): void {
    this.#told.delete(key);
  }
}
