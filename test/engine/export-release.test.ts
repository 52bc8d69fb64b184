import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { emptyExportDefinition } from "../../src/core/stream-definition.ts";
import type { EngineContext } from "../../src/engine/engine-context.ts";
import { tellRelease } from "../../src/engine/export-release.ts";
import { newStreamEntry } from "../../src/engine/stream-entry.ts";

/** A stream that frees what was exported, and a worker of which the test answers each message by hand. */
function fixture() {
  const entry = newStreamEntry(
    {
      streamId: "id",
      directory: "/d",
      definition: {
        name: "s",
        maxSize: 2000,
        streamSegmentSize: 1000,
        strategyOnFull: 0,
        persistence: 0,
        flushOnWrite: false,
        exportDefinition: emptyExportDefinition,
      },
      options: { freeExported: true },
      workerIndex: 0,
      slot: 3,
    },
    "open",
  );
  const state: { position: number | undefined } = { position: 5 };
  const told: number[] = [];
  const answers: { resolve: () => void; reject: (error: Error) => void }[] = [];
  const control = ({ endSequence }: { endSequence: number }): Promise<void> => {
    told.push(endSequence);
    return new Promise((resolve, reject) => answers.push({ resolve, reject }));
  };
  const engine = {
    exports: { durablePosition: () => state.position },
    workers: { proxy: () => ({ control }) },
  } as unknown as EngineContext;
  return { entry, state, told, answers, tell: () => tellRelease(engine, entry) };
}

describe("tellRelease", () => {
  it("tells what every enabled exporter has passed, one message at a time, and what came meanwhile with the next", async () => {
    const { state, told, answers, tell } = fixture();
    const first = tell();
    assert.deepEqual(told, [5]);
    for (const position of [6, 7, 8]) {
      state.position = position;
      await tell();
    }
    assert.deepEqual(told, [5]);
    answers[0]!.resolve();
    await new Promise((resolve) => setImmediate(resolve));
    assert.deepEqual(told, [5, 8]);
    answers[1]!.resolve();
    await first;
    await tell();
    assert.deepEqual(told, [5, 8], "nothing new");
  });

  it("takes it back where nobody is enabled any more, and where the option is off", async () => {
    const { entry, state, told, answers, tell } = fixture();
    const first = tell();
    answers[0]!.resolve();
    await first;
    state.position = undefined;
    const second = tell();
    answers[1]!.resolve();
    await second;
    assert.deepEqual(told, [5, 0]);
    state.position = 9;
    entry.options = { freeExported: false };
    await tell();
    assert.deepEqual(told, [5, 0]);
  });

  it("tells nothing while the stream is being changed, nor of one that is not open", async () => {
    const { entry, told, tell } = fixture();
    entry.release.isHeld = true;
    await tell();
    entry.release.isHeld = false;
    entry.lifecycle = "recovering";
    await tell();
    assert.deepEqual(told, []);
  });

  it("survives a worker that ends", async () => {
    const { entry, told, answers, tell } = fixture();
    const first = tell();
    answers[0]!.reject(new Error("ended"));
    await first;
    // Its successor knows nothing.
    entry.release.toldSequence = 0;
    void tell();
    assert.deepEqual(told, [5, 5]);
  });
});
