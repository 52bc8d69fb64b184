import { fork } from "node:child_process";
import path from "node:path";
import type { KinesisClient } from "@aws-sdk/client-kinesis";
import { MillraceClient } from "../client/index.ts";
import type { Clock } from "../core/clock.ts";
import { readToken } from "../net/token-store.ts";
import { ChildProcesses } from "./demo-child.ts";
import { startEmulator } from "./demo-emulator.ts";
import { engineEnvironment, startEngine, storedBytes, type DemoEngine } from "./demo-engine.ts";
import { followExports } from "./demo-exports.ts";
import { checkKinesisStream, createKinesisStream, openKinesis, type KinesisAccess } from "./demo-kinesis.ts";
import type { ProducerMessage, ProducerOrder, ProducerReport } from "./demo-producer.ts";
import type { Progress } from "./demo-progress.ts";
import { compareKinesis, compareStream } from "./demo-readback.ts";
import {
  definitionOf,
  demoStreams,
  forEachStream,
  type DemoStream,
  type ExportState,
  type PerStream,
} from "./demo-streams.ts";
import { formatCount, type DemoOutcome, type StreamOutcome } from "./demo-summary.ts";

export interface DemoOptions {
  readonly seconds: number;
  readonly ratePerSecond: number;
  /** Marks the messages of this run. */
  readonly run: string;
  /** Empty, and removed by the caller afterwards. */
  readonly directory: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly controller: AbortController;
  readonly progress: Progress;
  readonly clock: Clock;
}

const SHARD_COUNT = 2;
const REGION_DEFAULT = "us-east-1";
/** Clocks of two machines differ: a record of this run must not count as older than the run. */
const CLOCK_SKEW_MS = 60_000;

interface Kinesis {
  readonly client: KinesisClient;
  readonly access: KinesisAccess;
  readonly isEmulated: boolean;
}

/** One run of the demo: processes, the way there, the way back. */
export class DemoRun {
  readonly #options: DemoOptions;
  readonly #storeDirectory: string;
  readonly #journals: PerStream<string>;
  readonly #startedMs: number;
  readonly #processes: ChildProcesses;
  readonly #closers: (() => void)[] = [];

  constructor(options: DemoOptions) {
    this.#options = options;
    this.#processes = new ChildProcesses(options.controller);
    this.#storeDirectory = path.join(options.directory, "store");
    this.#journals = forEachStream(({ key }) => path.join(options.directory, `${key}.journal`));
    this.#startedMs = options.clock.nowMs();
  }

  async start(): Promise<DemoOutcome> {
    const { progress, clock } = this.#options;
    const kinesis = await this.#openKinesis();
    const engine = await this.#startEngine(kinesis.access);
    const url = `ws://127.0.0.1:${engine.port}`;
    const token = readToken(this.#storeDirectory);
    const client = await MillraceClient.connect({ url, ...(token !== undefined && { token }) });
    this.#closers.push(() => client.close());
    const { ratePerSecond, seconds, run } = this.#options;
    for (const stream of demoStreams) {
      await client.createMessageStream(definitionOf(stream, { messageCount: ratePerSecond * seconds }));
    }
    const startMs = clock.monotonicMs();
    const order = { url, token, run, ratePerSecond, seconds, journals: this.#journals };
    const production = await this.#produce(order, client);
    const exportSeconds = (clock.monotonicMs() - startMs) / 1000;
    progress.settle();
    const streams = await this.#compare(client, kinesis, production);
    // What a clean stop leaves is what the store holds.
    client.close();
    await engine.stop();
    const { sensorCount, anomalyCount, elapsedMs } = production.report;
    return {
      sensorCount,
      anomalyCount,
      appendSeconds: elapsedMs / 1000,
      exportSeconds,
      storedBytes: storedBytes(this.#storeDirectory),
      streams,
    };
  }

  /** Leaves nothing running, wherever the run has come to. */
  async close(): Promise<void> {
    for (const close of this.#closers) close();
    await this.#processes.killAll();
  }

  async #openKinesis(): Promise<Kinesis> {
    const { env, progress } = this.#options;
    const endpoint = env["AWS_ENDPOINT_URL_KINESIS"] ?? "";
    if (endpoint !== "") {
      const access = { endpoint, region: env["AWS_REGION"] ?? REGION_DEFAULT };
      const client = this.#openClient(access);
      for (const name of streamNames()) await checkKinesisStream(client, { name, endpoint });
      progress.note(`Kinesis    at ${endpoint}, streams ${streamNames().join(" and ")}`);
      return { access, isEmulated: false, client };
    }
    const emulator = await startEmulator(this.#processes, streamNames());
    const client = this.#openClient(emulator);
    for (const { name } of demoStreams) await createKinesisStream(client, { name, shardCount: SHARD_COUNT });
    progress.note(`Kinesis    emulated at ${emulator.endpoint}, ${SHARD_COUNT} shards a stream`);
    return { access: emulator, isEmulated: true, client };
  }

  #openClient(access: KinesisAccess): KinesisClient {
    const client = openKinesis(access);
    this.#closers.push(() => client.destroy());
    return client;
  }

  async #startEngine(access: KinesisAccess): Promise<DemoEngine> {
    const env = engineEnvironment(this.#options.env, access);
    const engine = await startEngine(this.#processes, { storeDirectory: this.#storeDirectory, env });
    this.#options.progress.note(`Engine     ready on port ${engine.port}, store ${this.#storeDirectory}`);
    return engine;
  }

  /** Runs the producer to its end and the exports to theirs, and shows how both go. */
  async #produce(order: ProducerOrder, client: MillraceClient): Promise<Production> {
    const { progress, clock } = this.#options;
    const { ratePerSecond, seconds } = order;
    const child = this.#processes.add(
      fork(new URL("./demo-producer.js", import.meta.url), { stdio: ["ignore", "ignore", "inherit", "ipc"] }),
      { name: "producer" },
    );
    progress.note(
      `Producer   ${formatCount(ratePerSecond)} readings a second for ${seconds} s, each with an inference`,
    );
    let latest: ProducerReport | undefined;
    const finished = new Promise<ProducerReport>((resolve, reject) => {
      child.on("message", (message: ProducerMessage) => {
        if (message.type === "failed") {
          reject(new Error(`The producer failed: ${message.reason}`));
          return;
        }
        latest = message;
        if (message.type === "finished") resolve(message);
      });
    });
    child.send(order);
    const show = (text: string) => progress.update(text);
    const [report, states] = await Promise.all([
      finished,
      followExports(client, { clock, show, report: () => latest }),
    ]);
    await this.#processes.stop(child);
    return { report, states };
  }

  async #compare(
    client: MillraceClient,
    kinesis: Kinesis,
    { report, states }: Production,
  ): Promise<PerStream<StreamOutcome>> {
    const { run, progress } = this.#options;
    const outcomeOf = async ({ key, name }: DemoStream): Promise<StreamOutcome> => {
      const show = (place: string) => (comparedCount: number) => {
        const counts = `${formatCount(comparedCount)} of ${formatCount(report.streams[key].appended)}`;
        progress.update(`comparing ${name} with what was sent: ${place}, ${counts}`);
      };
      const what = { name, run, journal: this.#journals[key] };
      const { newestSequence, isDrained, error } = states[key];
      const inStream = await compareStream(client, { ...what, newestSequence, show: show("stream") });
      const inKinesis = await compareKinesis(kinesis.client, {
        ...what,
        sinceMs: this.#startedMs - CLOCK_SKEW_MS,
        isShared: !kinesis.isEmulated,
        show: show("Kinesis"),
      });
      const { appended, acknowledged, bytes, resent } = report.streams[key];
      return {
        appended,
        acknowledged,
        acceptedBytes: bytes,
        resent,
        inStream: inStream.differences(),
        inKinesis: inKinesis.differences(),
        exportError: isDrained ? "" : error,
      };
    };
    const outcomes: StreamOutcome[] = [];
    for (const stream of demoStreams) outcomes.push(await outcomeOf(stream));
    return forEachStream((stream) => outcomes[demoStreams.indexOf(stream)]!);
  }
}

interface Production {
  readonly report: ProducerReport;
  readonly states: PerStream<ExportState>;
}

function streamNames(): string[] {
  return demoStreams.map(({ name }) => name);
}
