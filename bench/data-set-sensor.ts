import { seededRandom } from "./seeded-random.ts";
import type { DataSet } from "./data-set.ts";

const SEED = 20_251_109;
const START_MS = Date.UTC(2025, 10, 7, 6);
const READING_INTERVAL_MS = 20;
const LINES = 4;
const MACHINES_PER_LINE = 6;

/** What a machine measures: its resting value and its greatest step, in units of the last digit that is written. */
const quantities: readonly Quantity[] = [
  { name: "temperature_c", start: 4210, step: 6, digits: 2 },
  { name: "vibration_mm_s", start: 2875, step: 140, digits: 3 },
  { name: "current_a", start: 1284, step: 25, digits: 2 },
  { name: "pressure_bar", start: 6120, step: 9, digits: 3 },
  { name: "speed_rpm", start: 14_780, step: 35, digits: 1 },
];

interface Quantity {
  readonly name: string;
  readonly start: number;
  readonly step: number;
  readonly digits: number;
}

/**
 * Readings of machines as text, one a message: time, name, value. 65 B on average; the sensors of the plant report in turn, a
 * little off their time, and values wander about their start. `count` messages, the same for the same count.
 */
export function createSensorDataSet(count: number): DataSet {
  const random = seededRandom(SEED);
  const pick = (from: number, to: number): number => from + Math.floor(random.fraction() * (to - from + 1));
  const sensors = Array.from({ length: LINES * MACHINES_PER_LINE }, (_, machine) => {
    const line = 1 + Math.floor(machine / MACHINES_PER_LINE);
    const unit = String(1 + (machine % MACHINES_PER_LINE)).padStart(2, "0");
    return quantities.map((quantity) => ({
      ...quantity,
      name: `plant/line${line}/machine${unit}/${quantity.name}`,
      value: quantity.start,
    }));
  }).flat();
  const encoder = new TextEncoder();
  const messages: Uint8Array[] = [];
  let payloadBytes = 0;
  for (let index = 0; index < count; index++) {
    const sensor = sensors[index % sensors.length]!;
    // Half of the way that it has gone is taken back now and then: a plant is kept at its set point.
    if (pick(0, 9) === 0) sensor.value = Math.round((sensor.value + sensor.start) / 2);
    sensor.value += pick(-sensor.step, sensor.step);
    const time = new Date(START_MS + index * READING_INTERVAL_MS + pick(0, 9)).toISOString();
    const value = (sensor.value / 10 ** sensor.digits).toFixed(sensor.digits);
    const message = encoder.encode(`${time} ${sensor.name} ${value}`);
    messages.push(message);
    payloadBytes += message.length;
  }
  return { name: "sensor-lines", messages, payloadBytes };
}
