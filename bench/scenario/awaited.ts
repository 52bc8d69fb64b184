import { Persistence } from "../../src/core/stream-definition.ts";
import type { Bench, BenchOptions, BenchRecord } from "../bench.ts";
import { LatencyHistogram, latencyValues } from "../latency-histogram.ts";
import { median, roundTo } from "../statistics.ts";
import {
  BenchEngine,
  bytesPerAcceptedByte,
  checkNewest,
  createStream,
  describeStream,
  engineScript,
  type EngineOptions,
  measureCosts,
  STREAM_NAME,
} from "./append-case.ts";
import { mergedLatencies } from "./case-record.ts";
import { metricOf } from "./metrics-page.ts";
import { connectOfficialClient, type OfficialConnection } from "./official-client.ts";
import { profileArgs } from "./profile-args.ts";
import type { CostedSlice, RunningCase, ScenarioCase, Slice } from "./slice.ts";
import { type MeasuredCase, measureInTurns, messageRate, TurnRatios } from "./turns.ts";

const MESSAGE_COUNT = 4096;
const AT_ONCE = 100;

/** What the client waits for: nothing when the kernel acknowledges at once, its timer otherwise. */
const kinds = [
  { label: "with the addon", withAddon: true },
  { label: "without", withAddon: false },
] as const;

const groups = [
  { label: "official client, one awaited", inFlight: 1, ratio: "awaited_with_vs_without" },
  { label: `official client, ${AT_ONCE} at once`, inFlight: AT_ONCE, ratio: "at_once_with_vs_without" },
] as const;

const withoutValues = {
  appends_per_s: null,
  append_p50_us: null,
  append_p99_us: null,
  append_p99_9_us: null,
  append_p99_99_us: null,
  append_max_us: null,
  cpu_us_per_append: null,
  rss_mib: null,
} as const;

/** The official Node.js client writes a request in two parts with Nagle's algorithm on (PROTOCOL 1). */
export const awaitedBench: Bench = {
  name: "awaited",
  secondsDefault: 5,
  takes: ["data-set"],
  settings: { data_set_messages: MESSAGE_COUNT, at_once: AT_ONCE },
  run: runAwaited,
};

async function* runAwaited(options: BenchOptions): AsyncGenerator<BenchRecord> {
  const { caseFilter, seconds, storeRoot, profileDirectory } = options;
  const nodeArgs = profileArgs(profileDirectory);
  const engine: EngineOptions = { engineScript, storeRoot, nodeArgs };
  const { messages } = options.createDataSet(MESSAGE_COUNT);
  const ratios = new TurnRatios();
  for (const { label, inFlight, ratio } of groups) {
    const cases = kinds
      .map((kind): ScenarioCase => ({
        name: `${label}, ${kind.label}`,
        start: async () => startCase(engine, { inFlight, withAddon: kind.withAddon, messages }),
      }))
      .filter(({ name }) => name.includes(caseFilter));
    const measured: MeasuredCase[] = [];
    for await (const one of measureInTurns(cases, seconds)) {
      measured.push(one);
      yield awaitedRecord(one);
    }
    const [withAddon, without] = measured;
    ratios.add(ratio, [withAddon?.slices, without?.slices], messageRate);
  }
  const { values, rounds } = ratios;
  if (Object.keys(values).length > 0)
    yield { name: "ratios", values: { ...withoutValues, ...values }, rounds };
}

async function startCase(
  options: EngineOptions,
  {
    inFlight,
    withAddon,
    messages,
  }: {
    readonly inFlight: number;
    readonly withAddon: boolean;
    readonly messages: readonly Uint8Array[];
  },
): Promise<RunningCase> {
  const env = { MILLRACE_NATIVE_BINDINGS: String(withAddon) };
  const engine = await BenchEngine.start({ ...options, env });
  try {
    await checkAddon(engine, withAddon);
    const socket = await engine.connect();
    await createStream(socket, { persistence: Persistence.File, flushOnWrite: false });
    const connection = await connectOfficialClient(engine.server);
    const load = new OfficialLoad(connection, { inFlight, messages });
    return {
      measure: async (seconds) => measureCosts(engine.server, async () => load.run(seconds)),
      finish: async () => {
        const info = await describeStream(socket);
        checkNewest(info, load.acknowledgedMessages);
        const rssMib = engine.server.residentPeakMib();
        const end = { rssMib, bytesPerAcceptedByte: bytesPerAcceptedByte(engine.segmentBytes(), info) };
        connection.client.close();
        await socket.close();
        await engine.stop();
        return end;
      },
      abandon: async () => {
        connection.client.close();
        await engine.kill();
      },
    };
  } catch (error) {
    await engine.kill();
    throw error;
  }
}

/** A comparison of the same with the same would look like a result. */
async function checkAddon(engine: BenchEngine, isWanted: boolean): Promise<void> {
  const isUsed = metricOf(await engine.metrics(), "millrace_native_bindings") === 1;
  if (isUsed === isWanted) return;
  throw new Error(
    isWanted ? "the native addon is not built: npm run build, with a C compiler" : "it is in use",
  );
}

/** Keeps `inFlight` appends under way; the next one goes out when one is answered. */
class OfficialLoad {
  readonly #connection: OfficialConnection;
  readonly #inFlight: number;
  readonly #payloads: readonly Buffer[];
  acknowledgedMessages = 0;

  constructor(
    connection: OfficialConnection,
    { inFlight, messages }: { readonly inFlight: number; readonly messages: readonly Uint8Array[] },
  ) {
    this.#connection = connection;
    this.#inFlight = inFlight;
    this.#payloads = messages.map((message) => Buffer.from(message));
  }

  async run(seconds: number): Promise<Slice> {
    const latencies = new LatencyHistogram();
    let payloadBytes = 0;
    const startMs = performance.now();
    const endMs = startMs + seconds * 1000;
    const { client, failed } = this.#connection;
    const appendOnAndOn = async (): Promise<void> => {
      for (let sentMs = performance.now(); sentMs < endMs; sentMs = performance.now()) {
        const payload = this.#payloads[latencies.count % this.#payloads.length]!;
        await client.appendMessage(STREAM_NAME, payload);
        latencies.add((performance.now() - sentMs) * 1000);
        payloadBytes += payload.length;
      }
    };
    await Promise.race([Promise.all(Array.from({ length: this.#inFlight }, appendOnAndOn)), failed]);
    const messageCount = latencies.count;
    this.acknowledgedMessages += messageCount;
    return { elapsedS: (performance.now() - startMs) / 1000, messageCount, payloadBytes, latencies };
  }
}

/** Rates are medians of the rounds, percentiles are of all rounds together; the CPU time is that of engine and client. */
function awaitedRecord({ name, slices, end }: MeasuredCase): BenchRecord {
  const merged = mergedLatencies(slices);
  const summary = merged.summary();
  const sum = (of: (slice: CostedSlice) => number): number =>
    slices.reduce((total, slice) => total + of(slice), 0);
  const cpuS = sum(({ serverCpuS, driverCpuS }) => serverCpuS + driverCpuS);
  const rates = slices.map(messageRate);
  return {
    name,
    values: {
      appends_per_s: roundTo(median(rates), 4),
      ...latencyValues("append", merged),
      cpu_us_per_append: roundTo((cpuS / sum(({ messageCount }) => messageCount)) * 1e6, 3),
      rss_mib: roundTo(end.rssMib, 4),
    },
    rounds: { appends_per_s: rates.map((rate) => roundTo(rate, 4)) },
    ...(summary === undefined ? {} : { latencies: { append: summary } }),
  };
}
