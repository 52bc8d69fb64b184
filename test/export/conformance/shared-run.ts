import type { TestContext } from "node:test";
import { CleanUps } from "../../support/clean-ups.ts";
import type { CleanUp } from "../../support/program.ts";
import { isLong } from "../../support/test-length.ts";
import type { ExportRun } from "./export-run.ts";

/**
 * An engine and what it exports to, which the cases of a destination use one after the other: most of a case's time is their
 * start. In the long form, and behind a case that failed, the next one has a run of its own.
 */
export class SharedRun {
  readonly #start: (cleanUp: CleanUp) => Promise<ExportRun>;
  #current: { readonly run: ExportRun; readonly cleanUps: CleanUps } | undefined;

  constructor(start: (cleanUp: CleanUp) => Promise<ExportRun>) {
    this.#start = start;
  }

  async use(t: TestContext, body: (run: ExportRun) => Promise<void>): Promise<void> {
    let isDone = false;
    try {
      const run = this.#current?.run ?? (await this.#open());
      await run.begin(t.signal);
      await body(run);
      isDone = true;
    } finally {
      if (!isDone || isLong) await this.end();
    }
  }

  async #open(): Promise<ExportRun> {
    const cleanUps = new CleanUps();
    try {
      const run = await this.#start(cleanUps);
      this.#current = { run, cleanUps };
      return run;
    } catch (error) {
      await cleanUps.run();
      throw error;
    }
  }

  async end(): Promise<void> {
    const current = this.#current;
    this.#current = undefined;
    await current?.cleanUps.run();
  }
}
