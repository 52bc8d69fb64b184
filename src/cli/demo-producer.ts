// The producer of the demo, a process of its own like the programs that Millrace serves: it reads sensors, infers and appends.
import { setImmediate as turn, setTimeout as sleep } from "node:timers/promises";
import { MillraceClient, type Producer } from "../client/index.ts";
import { systemClock } from "../core/clock.ts";
import { endWithParent } from "./demo-child.ts";
import { JournalWriter } from "./demo-journal.ts";
import { LoopDelay } from "./demo-loop-delay.ts";
import { machineDirectories, SensorBank } from "./demo-sensors.ts";
import { demoStreams, forEachStream, type PerStream } from "./demo-streams.ts";
import { Workload, type WorkItem } from "./demo-workload.ts";

/** What the producer is told, once. Over the channel between the processes, since others can read a command line. */
export interface ProducerOrder {
  readonly url: string;
  readonly token: string | undefined;
  readonly run: string;
  readonly ratePerSecond: number;
  readonly seconds: number;
  readonly journals: PerStream<string>;
}

export interface AppendCounts {
  readonly appended: number;
  readonly acknowledged: number;
  readonly bytes: number;
  readonly resent: number;
}

export interface ProducerReport {
  readonly type: "progress" | "finished";
  readonly sensorCount: number;
  readonly anomalyCount: number;
  readonly elapsedMs: number;
  readonly streams: PerStream<AppendCounts>;
}

export type ProducerMessage = ProducerReport | { readonly type: "failed"; readonly reason: string };

const REPORT_INTERVAL_MS = 200;
/** Readings between two looks at the clock. */
const SLICE_READINGS_MAX = 256;
const TURN_MS = 4;

/** The way of one kind of message: noted, then appended. */
class Outlet {
  readonly #producer: Producer;
  readonly #journal: JournalWriter;
  #bytes = 0;

  constructor(producer: Producer, journal: JournalWriter) {
    this.#producer = producer;
    this.#journal = journal;
  }

  append(payload: Buffer): Promise<void> | undefined {
    this.#journal.add(payload);
    this.#bytes += payload.length;
    return this.#producer.append(payload);
  }

  get counts(): AppendCounts {
    const { appended, acknowledged, resent } = this.#producer.counters;
    return { appended, acknowledged, resent, bytes: this.#bytes };
  }

  async close(): Promise<void> {
    await this.#producer.close();
    this.#journal.close();
  }
}

async function produce(order: ProducerOrder): Promise<ProducerReport> {
  const { url, token, run, journals } = order;
  const client = await MillraceClient.connect({ url, ...(token !== undefined && { token }) });
  const bank = new SensorBank(machineDirectories);
  const producers = await Promise.all(demoStreams.map(({ name }) => client.producer(name)));
  const outlets = forEachStream((stream) => {
    const producer = producers[demoStreams.indexOf(stream)]!;
    return new Outlet(producer, new JournalWriter(journals[stream.key]));
  });
  const loopDelay = new LoopDelay(systemClock);
  const workload = new Workload({ run, sensors: [...bank.sensors, loopDelay], clock: systemClock });
  const startMs = systemClock.monotonicMs();
  let anomalyCount = 0;
  const report = (type: ProducerReport["type"]): ProducerReport => ({
    type,
    sensorCount: bank.sensors.length + 1,
    anomalyCount,
    elapsedMs: systemClock.monotonicMs() - startMs,
    streams: forEachStream(({ key }) => outlets[key].counts),
  });
  const timer = setInterval(() => tell(report("progress")), REPORT_INTERVAL_MS);
  await pace(order, startMs, async (count) => {
    for (let made = 0; made < count; made++) {
      const item = workload.next();
      if (item === undefined) throw new Error("Cannot read any sensor of this machine");
      if (item.isAnomaly) anomalyCount++;
      await append(outlets, item);
    }
  });
  await Promise.all([outlets.readings.close(), outlets.inferences.close()]);
  clearInterval(timer);
  loopDelay.close();
  bank.close();
  client.close();
  return report("finished");
}

/** Only a full window is waited for: a promise for each message would cost more than the message. */
async function append(outlets: PerStream<Outlet>, { reading, inference }: WorkItem): Promise<void> {
  const readingTaken = outlets.readings.append(reading);
  const inferenceTaken = outlets.inferences.append(inference);
  if (readingTaken) await readingTaken;
  if (inferenceTaken) await inferenceTaken;
}

/** Calls `make` with the number of readings that have come due; what cannot be made in time is not made. */
async function pace(
  { ratePerSecond, seconds }: ProducerOrder,
  startMs: number,
  make: (count: number) => Promise<void>,
): Promise<void> {
  const total = ratePerSecond * seconds;
  let made = 0;
  for (let isLast = false; !isLast;) {
    const nowMs = systemClock.monotonicMs();
    const elapsedMs = nowMs - startMs;
    isLast = elapsedMs >= seconds * 1000;
    const due = Math.min(total, Math.floor((elapsedMs * ratePerSecond) / 1000));
    const count = Math.min(SLICE_READINGS_MAX, due - made);
    await make(count);
    made += count;
    if (made < due) await turn();
    else await sleep(TURN_MS);
  }
}

function tell(message: ProducerMessage): void {
  process.send?.(message);
}

async function obey(order: ProducerOrder): Promise<void> {
  try {
    tell(await produce(order));
  } catch (error) {
    tell({ type: "failed", reason: error instanceof Error ? error.message : String(error) });
  }
}

// The parent ends this process when it has heard what it needs.
endWithParent();
process.once("message", (order: ProducerOrder) => void obey(order));
