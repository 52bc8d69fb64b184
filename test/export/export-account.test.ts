import assert from "node:assert/strict";
import { test } from "node:test";
import { testSeed } from "../support/seeded-random.ts";
import { crashStates, SimStorage } from "../support/sim-storage.ts";
import { ExportSimulation, newWorld, type World } from "./export-simulation.ts";

const config = { identifier: "k", kinesisStreamName: "target", batchSize: 5 };

function emptyStorage(): SimStorage {
  const storage = new SimStorage();
  storage.makeDirectory("/store");
  storage.syncDirectory("/");
  return storage;
}

/** What the process leaves, killed or with the machine, and the next one on top of it. */
function restart(simulation: ExportSimulation, world: World): ExportSimulation {
  const { storage, config: present } = simulation;
  const last = storage.operations.length - 1;
  const options = { random: () => world.random.fraction(), randomSubsets: 3, garbleBytes: 4096 };
  const states = [];
  for (const state of crashStates(storage, last, options)) {
    states.push(state);
    if (states.length === 40) break;
  }
  const isKilled = world.random.fraction() < 0.5;
  const state = isKilled ? states[0]! : states[world.random.between(0, states.length - 1)]!;
  return new ExportSimulation(world, state.storage, { config: present });
}

async function step(simulation: ExportSimulation, world: World): Promise<ExportSimulation> {
  const { random } = world;
  const dice = random.fraction();
  if (dice < 0.45) simulation.append({ isSynced: random.fraction() < 0.8 });
  else if (dice < 0.55) await simulation.pass(random.between(1, 1000));
  else if (dice < 0.7) await simulation.pass(random.between(1000, 120_000));
  else if (dice < 0.73) await simulation.pass(11 * 60_000);
  else if (dice < 0.78) simulation.damageSegment();
  else if (dice < 0.84) {
    const startSequenceNumber = random.between(0, Math.max(0, simulation.log.nextSequence - 1));
    simulation.configure({ startSequenceNumber });
  } else if (dice < 0.88) simulation.configure({ disabled: random.fraction() < 0.5 });
  else if (dice < 0.96) simulation.killThread(random.fraction() < 0.5 ? "dies before" : "dies after");
  else return restart(simulation, world);
  await simulation.settle();
  return simulation;
}

test("every message has one account, in messages and bytes, whatever happens to log, cloud, threads and process", async () => {
  for (let run = 0; run < 15; run += 1) {
    const seed = testSeed + run;
    const world = newWorld(seed);
    // Some exporters begin beyond the end of their stream.
    const startSequenceNumber = run % 3 === 0 ? world.random.between(0, 60) : 0;
    let simulation = new ExportSimulation(world, emptyStorage(), {
      config: { ...config, startSequenceNumber },
    });
    let steps = 0;
    try {
      for (; steps < 150; steps += 1) simulation = await step(simulation, world);
      await simulation.drain();
    } catch (error) {
      assert.fail(
        `SEED=${seed}, step ${steps}: ${error instanceof Error ? (error.stack ?? "") : String(error)}`,
      );
    }
  }
});
