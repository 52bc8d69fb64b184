import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { Sensor } from "../../src/cli/demo-sensors.ts";
import { Workload, type WorkItem } from "../../src/cli/demo-workload.ts";

/** A sensor that gives its values one after the other, then nothing. */
function sensorOf(name: string, values: readonly number[]): Sensor {
  let index = 0;
  return { name, unit: "KiB", kind: "gauge", read: () => values[index++] };
}

function workloadOf(sensors: readonly Sensor[]): Workload {
  let timeMs = 1_700_000_000_000;
  const clock = { nowMs: () => timeMs++, monotonicMs: () => timeMs };
  return new Workload({ run: "0a1b2c3d", sensors, clock });
}

function takeAll(workload: Workload): WorkItem[] {
  const items: WorkItem[] = [];
  for (let item = workload.next(); item !== undefined; item = workload.next()) items.push(item);
  return items;
}

describe("Workload", () => {
  it("reads the sensors in turn, and numbers the readings", () => {
    const items = takeAll(workloadOf([sensorOf("one", [1, 2]), sensorOf("two", [10, 20])]));
    const readings = items.map(({ reading }) => JSON.parse(reading.toString()) as Record<string, unknown>);
    assert.deepEqual(
      readings.map(({ number, sensor, value }) => [number, sensor, value]),
      [
        [0, "one", 1],
        [1, "two", 10],
        [2, "one", 2],
        [3, "two", 20],
      ],
    );
    assert.deepEqual(readings[0], {
      run: "0a1b2c3d",
      number: 0,
      timeMs: 1_700_000_000_000,
      sensor: "one",
      value: 1,
      unit: "KiB",
    });
  });

  it("writes the inference of each reading under the same number", () => {
    const items = takeAll(workloadOf([sensorOf('eth "0"', [5, 7])]));
    const inferences = items.map(({ inference }) => JSON.parse(inference.toString()) as unknown);
    assert.deepEqual(inferences[1], {
      run: "0a1b2c3d",
      number: 1,
      timeMs: 1_700_000_000_001,
      sensor: 'eth "0"',
      input: 7,
      mean: 5,
      deviation: 0,
      score: 0,
      anomaly: false,
      warm: false,
    });
  });

  it("goes on to the next sensor when one gives nothing, and ends when none does", () => {
    const items = takeAll(workloadOf([sensorOf("broken", []), sensorOf("works", [1, 2])]));
    assert.equal(items.length, 2);
    assert.equal(workloadOf([]).next(), undefined);
  });

  it("says which readings are anomalies", () => {
    const values = [...Array.from({ length: 50 }, (_, index) => 10 + (index % 3)), 1000];
    const items = takeAll(workloadOf([sensorOf("level", values)]));
    assert.deepEqual(
      items.flatMap(({ isAnomaly }, index) => (isAnomaly ? [index] : [])),
      [50],
    );
    assert.match(items[50]!.inference.toString(), /"anomaly":true/);
  });
});
