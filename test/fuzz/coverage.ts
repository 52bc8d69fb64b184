import { Session } from "node:inspector";

/** A stretch of a function that runs or does not run as a whole. */
interface Block {
  readonly start: number;
  readonly end: number;
  /** The number of its first feature; one more for each higher class of counts. */
  readonly feature: number;
}

/** Classes of how often a block ran: once, a few times, often, very often. */
const COUNT_CLASSES = 4;

interface CoverageRange {
  readonly startOffset: number;
  readonly endOffset: number;
  readonly count: number;
}

/** What V8 counts of the code whose URL is watched. One at a time may exist in a thread. */
export class Coverage {
  readonly #session = new Session();
  readonly #isWatched: (url: string) => boolean;
  /** Of each function, by script and place. */
  readonly #blocks = new Map<string, Map<number, Block>>();
  #features = 0;

  constructor(isWatched: (url: string) => boolean) {
    this.#isWatched = isWatched;
    this.#session.connect();
    this.#post("Profiler.enable");
    this.#post("Profiler.startPreciseCoverage", {
      callCount: true,
      detailed: true,
      allowTriggeredUpdates: false,
    });
    this.take();
  }

  /**
   * What ran since the last time, as numbers. V8 names a block only where its count differs from that of what surrounds it, so
   * blocks that were named once are looked up from then on.
   */
  take(): number[] {
    const features: number[] = [];
    for (const { url, scriptId, functions } of this.#post("Profiler.takePreciseCoverage").result) {
      if (!this.#isWatched(url)) continue;
      for (const { ranges } of functions) {
        if (ranges[0]!.count === 0) continue;
        const blocks = this.#blocksOf(scriptId, ranges);
        for (const block of blocks.values()) {
          const count = countOf(block, ranges);
          if (count > 0) features.push(block.feature + classOf(count));
        }
      }
    }
    return features;
  }

  close(): void {
    this.#session.disconnect();
  }

  #blocksOf(scriptId: string, ranges: readonly CoverageRange[]): Map<number, Block> {
    const place = `${scriptId}:${ranges[0]!.startOffset}`;
    let blocks = this.#blocks.get(place);
    if (blocks === undefined) {
      blocks = new Map<number, Block>();
      this.#blocks.set(place, blocks);
    }
    for (const { startOffset: start, endOffset: end } of ranges) {
      const key = start * 2 ** 24 + end;
      if (blocks.has(key)) continue;
      blocks.set(key, { start, end, feature: this.#features });
      this.#features += COUNT_CLASSES;
    }
    return blocks;
  }

  #post(method: string, parameters: object = {}): { result: readonly ScriptCoverage[] } {
    let answer: { result: readonly ScriptCoverage[] } | undefined;
    // The session is of this thread: it answers within the call.
    this.#session.post(method, parameters, (error: Error | null, result: unknown) => {
      if (error !== null) throw new Error(`${method}: ${error.message}`);
      answer = result as typeof answer;
    });
    if (answer === undefined) throw new Error(`${method} did not answer`);
    return answer;
  }
}

interface ScriptCoverage {
  readonly url: string;
  readonly scriptId: string;
  readonly functions: readonly { readonly ranges: readonly CoverageRange[] }[];
}

/** The innermost range around the block says how often it ran; the inner ones come later. */
function countOf(block: Block, ranges: readonly CoverageRange[]): number {
  let count = 0;
  for (const range of ranges)
    if (range.startOffset <= block.start && range.endOffset >= block.end) count = range.count;
  return count;
}

function classOf(count: number): number {
  if (count < 3) return count - 1;
  return count < 32 ? 2 : 3;
}

/** The same block, however often it ran. */
export function blockOf(feature: number): number {
  return Math.floor(feature / COUNT_CLASSES);
}
