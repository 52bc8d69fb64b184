import assert from "node:assert/strict";
import { mkdirSync, readdirSync, readFileSync, renameSync } from "node:fs";
import path from "node:path";
import { test, type TestContext } from "node:test";
import { constants, gunzipSync } from "node:zlib";
import type { ExportRecord } from "../../../src/export/destinations/destination.ts";
import { FileDestination } from "../../../src/export/destinations/file.ts";
import { fileStorage } from "../../../src/log/file-storage.ts";
import { SeededRandom } from "../../support/deterministic.ts";
import { temporaryDirectory } from "../../support/engine-process.ts";
import { KilledFiles } from "../../support/killed-files.ts";
import { testSeed } from "../../support/seeded-random.ts";
import { byLength } from "../../support/test-length.ts";

const MESSAGES = 24;
const ROUNDS = byLength({ everyday: 50, long: 2000 });
/** More than a batch makes that begins a file and completes it. */
const CALLS_MAX = 24;

function recordsOf(from: number, to: number): ExportRecord[] {
  return Array.from({ length: to - from }, (_, index) => ({
    sequence: from + index,
    ingestTimeMs: 1,
    data: Buffer.from(`message ${from + index}`),
  }));
}

/** One exporter that is killed again and again, and whoever takes its complete files. */
class Round {
  readonly #random: SeededRandom;
  readonly #files: KilledFiles;
  readonly #directory: string;
  readonly #taken: string;
  readonly #store: string;
  readonly #isGzip: boolean;
  #position = 0;
  /** Messages that may be there twice. */
  #doubledMax = 0;

  constructor(root: string, { seed, files }: { seed: number; files: KilledFiles }) {
    this.#random = new SeededRandom(seed);
    this.#files = files;
    this.#directory = path.join(root, String(seed));
    this.#taken = path.join(root, `${seed}-taken`);
    this.#store = path.join(root, `${seed}-store`);
    mkdirSync(this.#store);
    mkdirSync(this.#directory);
    mkdirSync(this.#taken);
    this.#isGzip = seed % 2 === 1;
  }

  async run(): Promise<void> {
    while (this.#position < MESSAGES) {
      if (this.#random.fraction() < 0.2) await this.#tend();
      else await this.#sendOne();
    }
    this.#check({ partsMax: 1 });
    while (!(await this.#tend({ isLast: true })));
    this.#check({ partsMax: 0 });
    assert.deepEqual(
      readdirSync(this.#directory).filter((name) => name.startsWith(".")),
      [],
    );
  }

  /** Completes the file whatever its size. @returns whether it lived through it */
  async #tend({ isLast = this.#random.fraction() < 0.5 } = {}): Promise<boolean> {
    if (this.#random.fraction() < 0.5) this.#files.callsLeft = this.#random.between(0, CALLS_MAX / 2);
    const settings = { ...this.#settings, rotateMs: 1 };
    const { error } = await this.#destination({ aheadMs: 1000 }).tend(settings, this.#context, { isLast });
    const isKilled = this.#files.isDead;
    this.#files.revive();
    if (!isKilled) assert.equal(error, "");
    // What it completes may hold a batch of which the position was not written.
    return !isKilled;
  }

  async #sendOne(): Promise<void> {
    const random = this.#random;
    const from = this.#position;
    const batch = recordsOf(from, Math.min(MESSAGES, from + random.between(1, 5)));
    if (random.fraction() < 0.5) this.#files.callsLeft = random.between(0, CALLS_MAX);
    const outcome = await this.#destination().send(this.#settings, batch, this.#context);
    const isKilled = this.#files.isDead;
    this.#files.revive();
    if (!isKilled) assert.equal(outcome.kind, "answered", JSON.stringify(outcome));
    // A kill behind the last call, before the position was written.
    const isForgotten = !isKilled && random.fraction() < 0.2;
    if (isKilled || isForgotten) {
      this.#doubledMax += batch.length;
      return;
    }
    this.#position += batch.length;
    if (random.fraction() < 0.3) this.#take();
  }

  #destination({ aheadMs = 0 } = {}): FileDestination {
    const nowMs = (): number => 1_800_000_000_000 + aheadMs;
    return new FileDestination({
      environment: { fileDirectories: [this.#directory] },
      storage: fileStorage,
      clock: { nowMs, monotonicMs: nowMs },
    });
  }

  get #context() {
    return { ...context, streamDirectory: this.#store };
  }

  get #settings() {
    return {
      kind: "file",
      directory: this.#directory,
      format: "raw",
      gzip: this.#isGzip,
      rotateBytes: 60,
      rotateMs: undefined,
    } as const;
  }

  #take(): void {
    for (const name of namesIn(this.#directory)) {
      if (name.endsWith(".part")) continue;
      renameSync(path.join(this.#directory, name), path.join(this.#taken, name));
    }
  }

  #check({ partsMax }: { partsMax: number }): void {
    const parts = namesIn(this.#directory).filter((name) => name.endsWith(".part"));
    assert.ok(parts.length <= partsMax, parts.join(" "));
    const places = [this.#taken, this.#directory].flatMap((directory) =>
      namesIn(directory).map((name) => ({ name, text: this.#textOf(path.join(directory, name)) })),
    );
    places.sort((one, other) => (one.name < other.name ? -1 : 1));
    const lines = places.flatMap(({ text }) => text.split("\n").slice(0, -1));
    let next = 0;
    for (const line of lines) {
      const sequence = Number(/^message (\d+)$/.exec(line)?.[1]);
      assert.ok(sequence <= next, `${line} where message ${next} should be\n${lines.join("\n")}`);
      if (sequence === next) next += 1;
    }
    assert.equal(next, MESSAGES, lines.join("\n"));
    assert.ok(lines.length - MESSAGES <= this.#doubledMax, `${lines.length - MESSAGES} of them twice`);
  }

  #textOf(place: string): string {
    const bytes = readFileSync(place);
    if (!this.#isGzip || bytes.length === 0) return bytes.toString();
    return gunzipSync(bytes, { finishFlush: constants.Z_FINISH }).toString();
  }
}

const context = {
  streamId: "00112233445566778899aabbccddeeff",
  streamName: "readings",
  exporterId: "ab".repeat(16),
  identifier: "f",
};

function namesIn(directory: string): string[] {
  return readdirSync(directory).filter((name) => !name.startsWith("."));
}

test("FileDestination that is killed at any call, again and again, tears nothing and loses nothing", async (t: TestContext) => {
  const root = temporaryDirectory(t);
  const files = await KilledFiles.patch(t);
  for (let seed = testSeed; seed < testSeed + ROUNDS; seed += 1) {
    try {
      await new Round(root, { seed, files }).run();
    } catch (error) {
      throw new Error(`SEED=${seed}: ${error instanceof Error ? error.message : String(error)}`, {
        cause: error,
      });
    }
  }
});
