import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { AnomalyModel, type Inference, type ModelInput } from "../../src/cli/demo-model.ts";
import { seededRandom } from "../support/seeded-random.ts";

/** Values around 100 with a deviation of about 5.8. */
function noisyInputs(seed: number, count: number): ModelInput[] {
  const random = seededRandom(seed);
  return Array.from({ length: count }, (_, index) => ({
    sensor: `sensor.${index % 3}`,
    kind: "gauge" as const,
    value: 90 + random.fraction() * 20,
    timeMs: index * 10,
  }));
}

function inferAll(inputs: readonly ModelInput[]): Inference[] {
  const model = new AnomalyModel();
  return inputs.map((input) => model.infer(input));
}

function counterInputs(values: readonly number[]): ModelInput[] {
  return values.map((value, index) => ({ sensor: "bytes", kind: "counter", value, timeMs: index * 500 }));
}

describe("AnomalyModel", () => {
  it("infers the same from the same inputs", () => {
    const inputs = noisyInputs(7, 500);
    assert.deepEqual(inferAll(inputs), inferAll(inputs));
  });

  it("learns mean and deviation, and finds noise normal and a spike not", () => {
    const inferences = inferAll([
      ...noisyInputs(11, 900),
      { sensor: "sensor.0", kind: "gauge", value: 200, timeMs: 9000 },
    ]);
    const spike = inferences.at(-1)!;
    assert.ok(Math.abs(spike.mean - 100) < 5, `mean ${spike.mean}`);
    assert.ok(spike.deviation > 3 && spike.deviation < 9, `deviation ${spike.deviation}`);
    assert.ok(spike.isAnomaly && spike.score > 6, `score ${spike.score}`);
    assert.equal(inferences.filter(({ isAnomaly }) => isAnomaly).length, 1);
  });

  it("scores nothing before a sensor was seen thirty times", () => {
    const inputs = Array.from({ length: 32 }, (_, index): ModelInput => {
      return { sensor: "one", kind: "gauge", value: index === 29 ? 1e9 : 1, timeMs: index };
    });
    const inferences = inferAll(inputs);
    assert.equal(
      inferences.findIndex(({ isWarm }) => isWarm),
      30,
    );
    assert.ok(inferences.slice(0, 30).every(({ score, isAnomaly }) => score === 0 && !isAnomaly));
  });

  it("scores the change per second of a counter, and nothing when it starts again", () => {
    const inputs = inferAll(counterInputs([1000, 1100, 1300, 5, 10])).map(({ input }) => input);
    assert.deepEqual(inputs, [null, 200, 400, null, 10]);
  });

  it("has no rate when no time has passed", () => {
    const model = new AnomalyModel();
    const input: ModelInput = { sensor: "ticks", kind: "counter", value: 5, timeMs: 1 };
    model.infer(input);
    assert.equal(model.infer({ ...input, value: 6 }).input, null);
  });

  it("finds the first move of a sensor that never moved, with a score that is a number", () => {
    const still = Array.from({ length: 40 }, (_, index): ModelInput => {
      return { sensor: "still", kind: "gauge", value: 50, timeMs: index };
    });
    const moved = inferAll([...still, { sensor: "still", kind: "gauge", value: 51, timeMs: 40 }]).at(-1)!;
    assert.equal(moved.deviation, 0);
    assert.ok(moved.isAnomaly && Number.isFinite(moved.score));
  });

  it("keeps sensors apart", () => {
    const alone = inferAll(noisyInputs(3, 300).filter(({ sensor }) => sensor === "sensor.1"));
    const inputs = noisyInputs(3, 300);
    const among = inferAll(inputs).filter((_, index) => inputs[index]!.sensor === "sensor.1");
    assert.deepEqual(among, alone);
  });
});
