import type { CleanUp } from "./program.ts";

/** What is to be done at the end, the last first: an engine ends before the disk under it goes. */
export class CleanUps implements CleanUp {
  readonly #cleanUps: (() => unknown)[] = [];

  readonly after: CleanUp["after"] = (cleanUp) => {
    this.#cleanUps.push(cleanUp as () => unknown);
  };

  /** Runs `body` and then what it left to be done, whatever became of it. */
  static async around<T>(body: (t: CleanUps) => Promise<T>): Promise<T> {
    const cleanUps = new CleanUps();
    try {
      return await body(cleanUps);
    } finally {
      await cleanUps.run();
    }
  }

  async run(): Promise<void> {
    for (const cleanUp of this.#cleanUps.reverse()) await cleanUp();
    this.#cleanUps.length = 0;
  }
}
