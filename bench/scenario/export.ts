import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { MillraceClient } from "../../src/client/millrace-client.ts";
import { emptyExportDefinition } from "../../src/core/stream-definition.ts";
import { KINESIS_RECORDS_MAX } from "../../src/core/kinesis-limits.ts";
import type { Bench, BenchOptions, BenchRecord } from "../bench.ts";
import { endWithBench, makeBenchDirectory, removeBenchDirectory } from "../clean-up.ts";
import { createInferenceDataSet } from "../data-set.ts";
import { noteMeasured } from "../measured-windows.ts";
import { median, roundTo } from "../statistics.ts";
import { engineScript, startServer, STREAM_NAME } from "./append-case.ts";
import { fillStore, type Stored } from "./filled-store.ts";
import type { DriverOrder, DriverResult } from "./kinesis-driver.ts";
import { type ArrivalCosts, KinesisTarget } from "./kinesis-target.ts";
import { profileArgs } from "./profile-args.ts";
import type { ServerProcess } from "./server-process.ts";
import { TurnRatios } from "./turns.ts";

const DATA_SET_MESSAGES = 32_768;
/** What a round sends for each second that it may take; a faster exporter is done sooner. */
const MESSAGES_PER_S = 200_000;
const MESSAGES_MIN = 20 * KINESIS_RECORDS_MAX;
const ROUND_S = 1;
const ROUNDS_MAX = 5;
/** Between two looks at how far the exporter is; each costs the engine a request. */
const POLL_MS = 5;
const IN_FLIGHT = [1, 4] as const;
const driverScript = path.join(import.meta.dirname, "kinesis-driver.js");

/** How fast one exporter sends a filled stream to an endpoint that accepts everything, beside the SDK alone with the same messages. */
export const exportBench: Bench = {
  name: "export",
  secondsDefault: 5,
  settings: { records_per_request_max: KINESIS_RECORDS_MAX, data_set: "inference-json" },
  run: runExport,
};

async function* runExport(options: BenchOptions): AsyncGenerator<BenchRecord> {
  const { caseFilter, seconds } = options;
  const rounds = Math.min(Math.max(Math.floor(seconds / ROUND_S), 1), ROUNDS_MAX);
  const messagesMin = Math.max(MESSAGES_MIN, Math.round((seconds / rounds) * MESSAGES_PER_S));
  for (const inFlight of IN_FLIGHT) {
    const names = {
      alone: `the SDK alone, ${inFlight} in flight`,
      exported: `an exporter, ${inFlight} in flight`,
    };
    const isWanted = ({ name }: { readonly name: string }): boolean => name.includes(caseFilter);
    if (!Object.values(names).some((name) => isWanted({ name }))) continue;
    // Both are measured for either: their ratio is a figure of the exporter's.
    for await (const one of measure(names, options, { inFlight, rounds, messagesMin }))
      if (isWanted(one)) yield one;
  }
}

interface CaseShape {
  readonly inFlight: number;
  readonly rounds: number;
  readonly messagesMin: number;
}

/** In turns, because the machine changes from second to second. */
async function* measure(
  names: { readonly alone: string; readonly exported: string },
  options: BenchOptions,
  { inFlight, rounds, messagesMin }: CaseShape,
): AsyncGenerator<BenchRecord> {
  const storeDirectory = makeBenchDirectory(options.storeRoot, "export");
  let endpoint: KinesisTarget | undefined;
  let driver: ChildProcess | undefined;
  let run: ExportRun | undefined;
  try {
    const target = (endpoint = await KinesisTarget.start());
    const env = target.environment;
    const sender = (driver = startDriver(env));
    const stored = await fillStore(storeDirectory, {
      messagesMin,
      dataSet: createInferenceDataSet(DATA_SET_MESSAGES),
    });
    const { messageCount } = stored;
    run = await ExportRun.start(storeDirectory, options, env);
    const alone: Round[] = [];
    const exported: Round[] = [];
    const order: DriverOrder = { messageCount, inFlight };
    // The first of each imports the SDK and warms up.
    for (let round = 0; round <= rounds; round++) {
      const turns = [
        async () => alone.push(await target.during(messageCount, async () => driveAlone(sender, order))),
        async () => exported.push(await target.during(messageCount, async () => run!.exportAll(order))),
      ];
      for (const turn of round % 2 === 0 ? turns : turns.toReversed()) await turn();
    }
    yield record(names.alone, { rounds: alone.slice(1), stored });
    const exporter = record(names.exported, { rounds: exported.slice(1), stored });
    const ratios = new TurnRatios();
    ratios.add("vs_sdk", [exported.slice(1), alone.slice(1)], ({ elapsedS }) => messageCount / elapsedS);
    const added = { ...ratios.values, added_rss_mib: roundTo(run.addedMib, 3) };
    yield {
      ...exporter,
      values: { ...exporter.values, ...added },
      rounds: { ...exporter.rounds, ...ratios.rounds },
    };
    await run.stop();
    await target.stop();
  } finally {
    driver?.kill();
    await run?.kill();
    await endpoint?.kill();
    removeBenchDirectory(storeDirectory);
  }
}

function startDriver(env: Readonly<Record<string, string>>): ChildProcess {
  return endWithBench(
    fork(driverScript, {
      stdio: ["ignore", "ignore", "inherit", "ipc"],
      env: { ...process.env, ...env },
    }),
  );
}

/** One sending of all messages. CPU times are of user and system, all threads. */
type Round = DriverResult & ArrivalCosts;

function rateOf(rounds: readonly Round[], messageCount: number): number {
  return median(rounds.map(({ elapsedS }) => messageCount / elapsedS));
}

function record(
  name: string,
  { rounds, stored: { messageCount, payloadBytes } }: { rounds: readonly Round[]; stored: Stored },
): BenchRecord {
  const perGb = (of: (round: Round) => number): number =>
    roundTo(median(rounds.map((round) => (of(round) * 1e9) / payloadBytes)), 3);
  const values = {
    messages_per_s: roundTo(rateOf(rounds, messageCount), 4),
    sender_cpu_s_per_gb: perGb(({ cpuS }) => cpuS),
    endpoint_cpu_s_per_gb: perGb(({ endpointCpuS }) => endpointCpuS),
    records_per_request: roundTo(messageCount / median(rounds.map(({ requests }) => requests)), 4),
    vs_sdk: null,
    added_rss_mib: null,
  };
  const rates = rounds.map(({ elapsedS }) => roundTo(messageCount / elapsedS, 4));
  return { name, values, rounds: { messages_per_s: rates } };
}

async function driveAlone(driver: ChildProcess, order: DriverOrder): Promise<DriverResult> {
  driver.send(order);
  const died = once(driver, "exit").then(() => {
    throw new Error("the process with the SDK has ended");
  });
  died.catch(() => undefined);
  const [result] = (await Promise.race([once(driver, "message"), died])) as [DriverResult];
  return result;
}

/** An engine on a filled store. Each round gives its stream a new exporter, which begins at the first message. */
class ExportRun {
  readonly #server: ServerProcess;
  readonly #client: MillraceClient;
  readonly #idleMib: number;
  #rounds = 0;
  #busyMib = 0;

  private constructor(server: ServerProcess, client: MillraceClient) {
    this.#server = server;
    this.#client = client;
    this.#idleMib = server.residentMib();
  }

  static async start(
    storeDirectory: string,
    { profileDirectory }: BenchOptions,
    env: Readonly<Record<string, string>>,
  ): Promise<ExportRun> {
    const nodeArgs = profileArgs(profileDirectory);
    const server = await startServer(storeDirectory, { engineScript, nodeArgs, env });
    try {
      const client = await MillraceClient.connect({ url: `ws://${server.host}:${server.port}` });
      // Answers come from the stream's worker: it has done what it does at a start.
      await client.describeMessageStream(STREAM_NAME);
      return new ExportRun(server, client);
    } catch (error) {
      await server.kill();
      throw error;
    }
  }

  /** Resolves when the engine knows that all of it was accepted. */
  async exportAll({ messageCount, inFlight }: DriverOrder): Promise<DriverResult> {
    this.#rounds += 1;
    const identifier = `round ${this.#rounds}`;
    const { definition } = await this.#client.describeMessageStream(STREAM_NAME);
    const kinesis = [{ identifier, kinesisStreamName: "target" }];
    const exporters = inFlight === 1 ? {} : { [identifier]: { inFlightMax: inFlight } };
    const cpuS = this.#server.cpuSeconds();
    const startMs = performance.now();
    const exportDefinition = { ...emptyExportDefinition, kinesis };
    await this.#client.updateMessageStream({ ...definition, exportDefinition }, { exporters });
    for (;;) {
      const { exportStatuses } = await this.#client.describeMessageStream(STREAM_NAME);
      const { exportedMessagesCount = 0, errorMessage = "" } = exportStatuses[0] ?? {};
      if (errorMessage !== "") throw new Error(`the exporter failed: ${errorMessage}`);
      if (exportedMessagesCount === messageCount) break;
      await sleep(POLL_MS);
    }
    noteMeasured(this.#server.pid, startMs);
    const elapsedS = (performance.now() - startMs) / 1000;
    this.#busyMib = Math.max(this.#busyMib, this.#server.residentMib());
    return { elapsedS, cpuS: this.#server.cpuSeconds() - cpuS };
  }

  /** What is resident beyond what was before the first export. */
  get addedMib(): number {
    return this.#busyMib - this.#idleMib;
  }

  async stop(): Promise<void> {
    this.#client.close();
    await this.#server.stop();
  }

  async kill(): Promise<void> {
    this.#client.close();
    await this.#server.kill();
  }
}
