import type { Clock } from "../core/clock.ts";
import { messageHead } from "./demo-compare.ts";
import { AnomalyModel, type Inference } from "./demo-model.ts";
import type { Sensor } from "./demo-sensors.ts";

/** One reading and what the model made of it, as the messages that are appended. */
export interface WorkItem {
  readonly reading: Buffer;
  readonly inference: Buffer;
  readonly isAnomaly: boolean;
}

/** Reads one sensor after the other, scores each reading, and writes both as JSON. */
export class Workload {
  readonly #run: string;
  readonly #sensors: readonly Sensor[];
  readonly #clock: Clock;
  readonly #model = new AnomalyModel();
  #turn = 0;
  #number = 0;

  constructor(options: { run: string; sensors: readonly Sensor[]; clock: Clock }) {
    this.#run = options.run;
    this.#sensors = options.sensors;
    this.#clock = options.clock;
  }

  /** The next sensor's reading, taken now; undefined when no sensor answers any more. */
  next(): WorkItem | undefined {
    for (let tried = 0; tried < this.#sensors.length; tried++) {
      const sensor = this.#sensors[this.#turn++ % this.#sensors.length]!;
      const value = sensor.read();
      if (value !== undefined) return this.#write(sensor, value);
    }
    return undefined;
  }

  #write({ name, unit, kind }: Sensor, value: number): WorkItem {
    const timeMs = this.#clock.monotonicMs();
    const inference = this.#model.infer({ sensor: name, kind, value, timeMs });
    const number = this.#number++;
    const head = `${messageHead(this.#run, number)},"timeMs":${decimals(this.#clock.nowMs())},"sensor":${JSON.stringify(name)}`;
    return {
      reading: Buffer.from(`${head},"value":${value},"unit":"${unit}"}`),
      inference: Buffer.from(`${head},${inferenceFields(inference)}}`),
      isAnomaly: inference.isAnomaly,
    };
  }
}

function inferenceFields({ input, mean, deviation, score, isAnomaly, isWarm }: Inference): string {
  const scored = input === null ? "null" : decimals(input);
  return `"input":${scored},"mean":${decimals(mean)},"deviation":${decimals(deviation)},"score":${decimals(score)},"anomaly":${isAnomaly},"warm":${isWarm}`;
}

/** Three decimals say all that these sensors know. */
function decimals(value: number): number {
  return Math.round(value * 1000) / 1000;
}
