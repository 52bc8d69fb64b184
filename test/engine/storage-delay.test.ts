import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { Persistence, StrategyOnFull } from "../../src/core/stream-definition.ts";
import { StorageDelay } from "../../src/stream/storage-watch.ts";
import { SeededRandom } from "../support/deterministic.ts";
import { SimStorage } from "../support/sim-storage.ts";
import { definitionWith } from "../support/stream-fixture.ts";
import { EngineLife } from "../simulation/engine/engine-life.ts";
import { SimCloud } from "../simulation/engine/sim-cloud.ts";
import { SimScheduler } from "../simulation/engine/sim-scheduler.ts";
import { StreamModel } from "../simulation/engine/stream-model.ts";

describe("storage whose sync does not come back", () => {
  it("is told of, stops its producers, answers them in time, and serves again when it answers", async () => {
    const random = new SeededRandom(11);
    const scheduler = new SimScheduler(random);
    const told: StorageDelay[] = [];
    const storage = new SimStorage();
    const life = await EngineLife.start(storage, {
      scheduler,
      cloud: new SimCloud(random),
      random,
      life: 0,
      counters: [new Map(), new Map()],
      onStorageDelay: (delay) => told.push(delay),
    });
    const [producer, reader] = life.clients;
    const definition = {
      ...definitionWith([], { name: "flushed" }),
      strategyOnFull: StrategyOnFull.RejectNewData,
      persistence: Persistence.File,
      flushOnWrite: true,
    };
    await life.await(producer!.create(definition), "create");
    const model = new StreamModel({
      name: "flushed",
      isMemory: false,
      flushOnWrite: true,
      isOverwriting: false,
    });
    producer!.append(model);
    await scheduler.runUntil(() => producer!.hasHandle("flushed"), "a handle");
    producer!.append(model);
    const askedMs = scheduler.clock.monotonicMs();
    const stateOf = () => model.batches.at(-1)!.state;

    await scheduler.runUntil(() => told.includes(StorageDelay.Degraded), "a degraded engine");
    assert.deepEqual([...told], [StorageDelay.Slow, StorageDelay.Degraded]);
    assert.ok(producer!.pauses.has("storage"), "who has appends in flight is not read");
    assert.ok(!reader!.pauses.has("storage"));
    assert.equal(stateOf(), "pending");

    await scheduler.runUntil(() => told.includes(StorageDelay.Hung), "a hung storage");
    assert.equal(stateOf(), "unknown");
    assert.ok(scheduler.clock.monotonicMs() - askedMs < 50_000, "before an official client gives up");

    storage.completeSyncs();
    await scheduler.runUntil(() => told.at(-1) === StorageDelay.None, "a storage that answers");
    assert.ok(!producer!.pauses.has("storage"));
    const { messages } = await life.contents("flushed");
    assert.deepEqual([...messages.values()], model.batches.at(-1)!.payloads, "it was stored all the same");
  });
});
