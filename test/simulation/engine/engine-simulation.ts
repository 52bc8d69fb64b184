import { Persistence, StrategyOnFull, type StreamDefinition } from "../../../src/core/stream-definition.ts";
import { definitionWith } from "../../support/stream-fixture.ts";
import { SeededRandom } from "../../support/deterministic.ts";
import { afterPowerCut } from "../../support/power-cut.ts";
import { type Fault, SimStorage } from "../../support/sim-storage.ts";
import type { Seams } from "../workload.ts";
import { EngineLife } from "./engine-life.ts";
import { SimCloud } from "./sim-cloud.ts";
import { SimProducer } from "./sim-producer.ts";
import { SimScheduler } from "./sim-scheduler.ts";
import { type Ending, type StreamContents, StreamModel } from "./stream-model.ts";

const CLIENTS = 3;

export interface SimulationOptions {
  readonly seed: number;
  /** Processes that live one after the other on one store. */
  readonly lives: number;
  /** Steps of a life, at most. */
  readonly stepsMax: number;
  /** What is planted between the stream workers and their storage. */
  readonly wrap?: Seams["wrap"];
}

export interface SimulationResult {
  readonly violation: string | undefined;
  readonly steps: number;
  readonly acknowledged: number;
  readonly lostToPowerCuts: number;
  readonly exported: number;
  readonly workerDeaths: number;
  readonly endings: ReadonlyMap<string, number>;
  readonly faults: number;
  /** Batches that producers sent again; none may be stored twice. */
  readonly resent: number;
}

function definitions(): StreamDefinition[] {
  const exporter = (name: string) => [
    { identifier: "up", kinesisStreamName: name, batchSize: 7, priority: 1 },
  ];
  const sizes = { maxSize: 4_000_000, streamSegmentSize: 12_000 };
  const made: [string, Partial<StreamDefinition>][] = [
    ["flushed", { ...sizes, flushOnWrite: true }],
    ["plain", sizes],
    [
      "overwritten",
      { maxSize: 30_000, streamSegmentSize: 6000, strategyOnFull: StrategyOnFull.OverwriteOldestData },
    ],
    [
      "small and flushed",
      {
        maxSize: 20_000,
        streamSegmentSize: 5000,
        strategyOnFull: StrategyOnFull.OverwriteOldestData,
        flushOnWrite: true,
      },
    ],
    ["memory", { ...sizes, persistence: Persistence.Memory }],
  ];
  return made.map(([name, changes]) => ({
    ...definitionWith(exporter(name), { name }),
    strategyOnFull: StrategyOnFull.RejectNewData,
    persistence: Persistence.File,
    flushOnWrite: false,
    ...changes,
  }));
}

/**
 * A whole engine in one thread: main thread, workers, export workers, clients and cloud take turns as a seed says, calls of the
 * storage fail, threads die, and the process ends in every way it can. A seed gives the same run again.
 */
export class EngineSimulation {
  readonly #options: SimulationOptions;
  readonly #random: SeededRandom;
  readonly #scheduler: SimScheduler;
  readonly #cloud: SimCloud;
  readonly #models = new Map<string, StreamModel>();
  readonly #producers: SimProducer[] = [];
  readonly #counters = Array.from({ length: CLIENTS }, () => new Map<string, number>());
  readonly #endings = new Map<string, number>();
  /** Of the storage, before the last step: a process may die within it. */
  #operationsBefore = 0;
  #workerDeaths = 0;
  #faults = 0;
  #lives = 0;

  constructor(options: SimulationOptions) {
    this.#options = options;
    this.#random = new SeededRandom(options.seed);
    this.#scheduler = new SimScheduler(this.#random);
    this.#cloud = new SimCloud(this.#random);
  }

  async run(): Promise<SimulationResult> {
    let violation: string | undefined;
    try {
      violation = await this.#live();
    } catch (error) {
      violation = error instanceof Error ? (error.stack ?? error.message) : String(error);
    }
    const models = [...this.#models.values()];
    const told =
      violation === undefined
        ? undefined
        : `seed ${this.#options.seed}, life ${this.#lives}, step ${this.#scheduler.stepCount}: ${violation}\n` +
          `last steps: ${this.#scheduler.trace.slice(-12).join(", ")}`;
    return {
      violation: told,
      steps: this.#scheduler.stepCount,
      acknowledged: models.reduce((sum, model) => sum + model.acknowledgedCount, 0),
      lostToPowerCuts: models.reduce((sum, model) => sum + model.lostCount, 0),
      exported: this.#cloud.acceptedCount,
      workerDeaths: this.#workerDeaths,
      endings: this.#endings,
      faults: this.#faults,
      resent: this.#producers.reduce((sum, { resentCount }) => sum + resentCount, 0),
    };
  }

  async #live(): Promise<string | undefined> {
    let storage = new SimStorage();
    let ending: Ending = "running";
    for (let life = 0; life < this.#options.lives; life++) {
      this.#lives = life;
      const counters = this.#counters;
      const { wrap } = this.#options;
      const parts = {
        scheduler: this.#scheduler,
        cloud: this.#cloud,
        random: this.#random,
        life,
        counters,
        wrap,
      };
      const engine = await EngineLife.start(storage, parts);
      if (life === 0) await this.#createStreams(engine);
      const broken = await this.#checkAll(engine, ending);
      if (broken !== undefined) return `after ${ending}: ${broken}`;
      ending = await this.#useAndEnd(engine);
      this.#endings.set(ending, (this.#endings.get(ending) ?? 0) + 1);
      const said = [...engine.clients, ...this.#producers, this.#cloud].flatMap(
        ({ violations }) => violations,
      );
      if (said.length > 0) return said[0];
      this.#faults += engine.storage.faultCount;
      storage = this.#whatIsLeft(engine.storage, ending);
      for (const model of this.#models.values()) model.interrupted();
    }
    return undefined;
  }

  async #createStreams(engine: EngineLife): Promise<void> {
    for (const definition of definitions()) {
      const { name, flushOnWrite, strategyOnFull, persistence } = definition;
      const reply = await engine.await(engine.clients[0]!.create(definition), `create "${name}"`);
      if (reply.status !== 0) throw new Error(`create "${name}": ${reply.errorMessage}`);
      const isOverwriting = strategyOnFull === StrategyOnFull.OverwriteOldestData;
      const isMemory = persistence === Persistence.Memory;
      const model = new StreamModel({ name, flushOnWrite, isOverwriting, isMemory });
      this.#models.set(name, model);
      this.#producers.push(new SimProducer(model, this.#random));
    }
  }

  async #checkAll(engine: EngineLife, ending: Ending): Promise<string | undefined> {
    for (const [name, model] of this.#models) {
      const contents = await engine.contents(name);
      const broken =
        model.check(contents, ending) ??
        this.#checkCloud(name, contents) ??
        this.#checkAccount(engine, name, contents);
      if (broken !== undefined) return broken;
    }
    return undefined;
  }

  /** What was exported is what is stored, and is never forgotten. */
  #checkCloud(name: string, contents: StreamContents): string | undefined {
    if (this.#models.get(name)!.traits.isMemory) return undefined;
    for (const [sequence, payload] of this.#cloud.accepted.get(name) ?? []) {
      if (sequence >= contents.nextSequence)
        return `stream "${name}": exported ${sequence}, ends at ${contents.nextSequence}`;
      const stored = contents.messages.get(sequence);
      if (stored !== undefined && stored !== payload)
        return `stream "${name}": message ${sequence} was exported as another`;
    }
    return undefined;
  }

  #checkAccount(
    engine: EngineLife,
    name: string,
    { oldestSequence, nextSequence, messages }: StreamContents,
  ): string | undefined {
    const { progress, ledger } = engine.entry(name);
    if (progress.nextSequence !== nextSequence)
      return `stream "${name}": described ${nextSequence}, told ${progress.nextSequence}`;
    const stored = ledger.stored({ messages: nextSequence, payloadBytes: progress.nextPayloadOffset });
    let payloadBytes = 0;
    for (const message of messages.values()) payloadBytes += message.length;
    if (stored.messages !== messages.size || stored.payloadBytes !== payloadBytes) {
      const { accounts } = ledger.snapshot;
      return (
        `stream "${name}": the account leaves ${stored.messages} messages, ${stored.payloadBytes} bytes, stored are ` +
        `${messages.size}, ${payloadBytes}: ${JSON.stringify(accounts)}`
      );
    }
    const status = engine.exports.snapshot().find(({ streamName }) => streamName === name);
    if (status === undefined) return `stream "${name}" has no exporter`;
    const { position } = status;
    if (position > nextSequence) return `stream "${name}": the cursor is at ${position} of ${nextSequence}`;
    const cloud = this.#cloud.accepted.get(name);
    // Everything below the cursor arrived, or was overwritten before.
    for (let sequence = oldestSequence; sequence < position; sequence++)
      if (cloud?.has(sequence) !== true && !this.#models.get(name)!.traits.isMemory)
        return `stream "${name}": the cursor is at ${position}, and ${sequence} never arrived`;
    return undefined;
  }

  async #useAndEnd(engine: EngineLife): Promise<Ending> {
    const random = this.#random;
    this.#plantFaults(engine);
    const steps = random.between(20, this.#options.stepsMax);
    const models = [...this.#models.values()];
    for (const client of engine.clients) {
      this.#scheduler.addActor({
        name: client.name,
        weight: 2,
        run: () =>
          client.mayAppend ? () => client.append(models[random.between(0, models.length - 1)]!) : undefined,
      });
    }
    const last = engine.clients.at(-1)!;
    for (const producer of this.#producers) {
      producer.attach(last);
      const run = () => (producer.mayAct ? () => producer.act() : undefined);
      this.#scheduler.addActor({ name: producer.name, weight: 0.5, run });
    }
    this.#scheduler.addActor({
      name: "storage ends a sync",
      weight: 2,
      run: () => (engine.storage.isSyncing ? () => engine.storage.completeOneSync() : undefined),
    });
    for (let step = 0; step < steps; step++) {
      if (random.fraction() < 0.0008) this.#killWorker(engine);
      if (random.fraction() < 0.002) engine.pool.killThread();
      this.#operationsBefore = engine.storage.operations.length;
      await this.#scheduler.step();
    }
    for (const { name } of [...engine.clients, ...this.#producers]) this.#scheduler.removeActor(name);
    const dice = random.fraction();
    if (dice < 0.2) {
      engine.storage.heal();
      await this.#scheduler.runUntil(() => engine.isQuiet, "a quiet moment");
      const broken = await this.#checkAll(engine, "running");
      if (broken !== undefined) throw new Error(`while running: ${broken}`);
      await engine.stop();
      return "stop";
    }
    engine.vanish();
    return dice < 0.55 ? "kill" : "power cut";
  }

  #killWorker(engine: EngineLife): void {
    const thread = engine.platform.threads.at(this.#random.between(0, engine.platform.threads.length - 1));
    if (thread === undefined) return;
    this.#workerDeaths += 1;
    thread.end(new Error("killed by the simulation"));
  }

  #plantFaults(engine: EngineLife): void {
    if (this.#random.fraction() < 0.5) return;
    const faults: [string, Fault][] = [
      [`sync@+${this.#random.between(1, 30)}`, { code: "EIO" }],
      [`write@+${this.#random.between(1, 60)}`, { writtenBytes: this.#random.between(0, 200) }],
      [`write@+${this.#random.between(1, 60)}`, { writtenBytes: this.#random.between(0, 200), code: "EIO" }],
      [`write@+${this.#random.between(1, 60)}`, { code: "ENOSPC" }],
      [`open@+${this.#random.between(1, 6)}`, { code: "EIO" }],
      [`syncDirectory@+${this.#random.between(1, 6)}`, { code: "EIO" }],
      [`unlink@+${this.#random.between(1, 6)}`, { code: "EIO" }],
    ];
    engine.storage.plant([faults[this.#random.between(0, faults.length - 1)]!]);
  }

  /** What the next process finds. A process may die within a call; a power cut keeps any part of what was not synced. */
  #whatIsLeft(storage: SimStorage, ending: Ending): SimStorage {
    this.#scheduler.removeActor("storage ends a sync");
    this.#emptyMemory();
    const last = storage.operations.length - 1;
    if (ending === "stop") return storage.killedAt(last);
    const operation = this.#random.between(Math.min(last, Math.max(2, this.#operationsBefore - 1)), last);
    if (ending === "kill") return storage.killedAt(operation);
    return afterPowerCut(storage, operation, () => this.#random.fraction());
  }

  #emptyMemory(): void {
    for (const model of this.#models.values()) {
      if (!model.traits.isMemory) continue;
      model.emptied();
      // Its numbers begin again, so those in the cloud mean nothing any more.
      this.#cloud.accepted.delete(model.traits.name);
    }
  }
}
